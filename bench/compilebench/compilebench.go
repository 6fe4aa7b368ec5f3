// Package compilebench measures the compiler: the time and the memory that a
// system takes from text to a policy image.
package compilebench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"ward/compile"
)

// Bounds of Options.
const (
	MaxPolicies = 100_000
	MaxRounds   = 1000
)

// Options says what to measure.
type Options struct {
	Policies []int // of one system each; 1 to MaxPolicies
	Rounds   int
	Progress func(done, total int)
}

// Result is one system. Times are medians in nanoseconds.
type Result struct {
	Policies int     `json:"policies"`
	Domains  int     `json:"domains"`
	Methods  int     `json:"methods"`
	Routes   int     `json:"routes"`
	Compile  int64   `json:"compile_ns"` // system.yaml, .proto and .cedar to an image
	Ratio    float64 `json:"ratio"`      // to Compile of the first system
	Memory   uint64  `json:"memory_bytes"`
}

// Sizes of a system.
const (
	domains    = 100
	interfaces = 100
	each       = 10 // methods
)

// System is a directory of 100 domains, 1,000 methods and n policies: most are
// for one method of one client, some for everybody, some forbid.
func System(n int) fstest.MapFS {
	var y, p, c strings.Builder
	y.WriteString("ward: 1\nname: scale\ninterfaces: [shop.proto]\npolicy: [policy.cedar]\ndomains:\n")
	p.WriteString("syntax = \"proto3\";\npackage s.v1;\nmessage M { uint32 a = 1; string b = 2; optional int64 c = 3; }\n")
	for i := range domains {
		fmt.Fprintf(&y, "  d%d:\n    program: /bin/d\n    exports: [s.v1.S%d]\n", i, i)
	}
	for i := range interfaces {
		fmt.Fprintf(&p, "service S%d {\n", i)
		for j := range each {
			fmt.Fprintf(&p, "  rpc M%d(M) returns (M);\n", j)
		}
		p.WriteString("}\n")
	}
	conditions := []string{`context.a < 10 && context.b like "x*"`, `context has c && context.c == 3`, `principal.ring.level < 9 && context.b == "y"`, "true"}
	for i := range n {
		condition := conditions[i%len(conditions)]
		switch {
		case i%50 == 0: // everybody, one interface
			fmt.Fprintf(&c, "@id(\"p%d\") permit (principal, action in s::v1::Action::\"S%d\", resource) when { %s };\n", i, i%interfaces, condition)
		case i%50 == 1: // one domain, everything
			fmt.Fprintf(&c, "@id(\"p%d\") forbid (principal == Domain::\"d%d\", action in ward::Action::\"call\", resource) when { context.a > 1000 };\n", i, i%domains)
		default:
			fmt.Fprintf(&c, "@id(\"p%d\") permit (principal == Domain::\"d%d\", action == s::v1::Action::\"S%d.M%d\", resource) when { %s };\n",
				i, i*7%domains, i*13%interfaces, i%each, condition)
		}
	}
	return fstest.MapFS{"system.yaml": {Data: []byte(y.String())}, "shop.proto": {Data: []byte(p.String())}, "policy.cedar": {Data: []byte(c.String())}}
}

// Run measures.
func Run(ctx context.Context, o Options) ([]Result, error) {
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	var results []Result
	for i, n := range o.Policies {
		fsys := System(n)
		res := Result{Policies: n, Domains: domains, Methods: interfaces * each}
		var compiled []int64
		for round := range o.Rounds {
			o.Progress(i*o.Rounds+round, len(o.Policies)*o.Rounds)
			if err := ctx.Err(); err != nil {
				return results, err
			}
			runtime.GC()
			begin := time.Now()
			out, l := compile.Dir(fsys)
			compiled = append(compiled, int64(time.Since(begin)))
			if l.Failed() {
				return results, fmt.Errorf("the system that is compiled has errors: %w", l)
			}
			res.Routes = len(out.Image.Routes)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		// All that the process has had from the system so far: not less than this compilation took.
		res.Memory = m.Sys
		res.Compile = median(compiled)
		results = append(results, res)
		results[i].Ratio = float64(res.Compile) / float64(results[0].Compile)
	}
	return results, nil
}

func median(ns []int64) int64 {
	slices.Sort(ns)
	return ns[len(ns)/2]
}
