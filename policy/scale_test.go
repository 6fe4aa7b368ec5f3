package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ward/policy"
)

// scale makes a system of 100 domains and 100 interfaces of 10 methods, and n policies for it.
func scale(n int) (yaml, proto, cedar string) {
	var y, p, c strings.Builder
	y.WriteString("ward: 1\nname: scale\ninterfaces: [shop.proto]\npolicy: [policy.cedar]\ndomains:\n")
	p.WriteString("syntax = \"proto3\";\npackage s.v1;\nmessage M { uint32 a = 1; string b = 2; optional int64 c = 3; }\n")
	for i := range 100 {
		fmt.Fprintf(&y, "  d%d:\n    program: /bin/d\n    exports: [s.v1.S%d]\n", i, i)
		fmt.Fprintf(&p, "service S%d {\n", i)
		for j := range 10 {
			fmt.Fprintf(&p, "  rpc M%d(M) returns (M);\n", j)
		}
		p.WriteString("}\n")
	}
	for i := range n {
		condition := []string{`context.a < 10 && context.b like "x*"`, `context has c && context.c == 3`, `principal.ring.level < 9 && context.b == "y"`, "true"}[i%4]
		switch {
		case i%50 == 0: // everybody, one interface
			fmt.Fprintf(&c, "@id(\"p%d\") permit (principal, action in s::v1::Action::\"S%d\", resource) when { %s };\n", i, i%100, condition)
		case i%50 == 1: // one domain, everything
			fmt.Fprintf(&c, "@id(\"p%d\") forbid (principal == Domain::\"d%d\", action in ward::Action::\"call\", resource) when { context.a > 1000 };\n", i, i%100)
		default:
			fmt.Fprintf(&c, "@id(\"p%d\") permit (principal == Domain::\"d%d\", action == s::v1::Action::\"S%d.M%d\", resource) when { %s };\n",
				i, i*7%100, i*13%100, i%10, condition)
		}
	}
	return y.String(), p.String(), c.String()
}

// TestScale compiles systems of 100 domains and 1,000 methods. The limits are
// those of issue 2 with room for slow machines; the log tells the times.
func TestScale(t *testing.T) {
	for _, c := range []struct {
		policies int
		limit    time.Duration
	}{{1_000, 2 * time.Second}, {10_000, 20 * time.Second}} {
		if testing.Short() && c.policies > 1_000 {
			t.Skip("short: 10,000 policies")
		}
		y, p, text := scale(c.policies)
		sys, set := load(t, y, p)
		start := time.Now()
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		took := time.Since(start)
		if img == nil {
			t.Fatal(l)
		}
		t.Logf("%d policies, 100 domains, 1,000 methods: %v, %d routes", c.policies, took, len(img.Routes))
		if took > c.limit {
			t.Errorf("%d policies took %v: the limit is %v", c.policies, took, c.limit)
		}
	}
}
