package models_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ward/abi"
	"ward/compile"
	"ward/image"
	"ward/interfaces"
	"ward/models"
	"ward/policy"
	"ward/ring"
	"ward/system"
)

const everything = "@id(\"anything goes\")\npermit (principal, action in ward::Action::\"call\", resource);\n"

// proto makes an interface t.v1.T with methods M0 to Mn-1.
func proto(n int) string {
	var b strings.Builder
	b.WriteString("syntax = \"proto3\";\npackage t.v1;\nmessage Q { int32 x = 1; }\nmessage A { int32 y = 1; }\nservice T {\n")
	for i := range n {
		fmt.Fprintf(&b, "  rpc M%d(Q) returns (A);\n", i)
	}
	return b.String() + "}\n"
}

func files(yaml, proto, cedar string) fstest.MapFS {
	return fstest.MapFS{"system.yaml": {Data: []byte(yaml)}, "t.proto": {Data: []byte(proto)}, "p.cedar": {Data: []byte(cedar)}}
}

func compiled(t *testing.T, fsys fstest.MapFS) *image.Image {
	t.Helper()
	r, l := compile.Dir(fsys)
	if r.Image == nil {
		t.Fatalf("%v\n%s", l, fsys["system.yaml"].Data)
	}
	return r.Image
}

// without compiles a system without its models: the control of every denial.
func without(t *testing.T, fsys fstest.MapFS) *image.Image {
	t.Helper()
	sys, l := system.Load(fsys)
	set, more := interfaces.Load(fsys, sys.Interfaces)
	if l.Failed() || more.Failed() {
		t.Fatal(l, more)
	}
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "p.cedar", Text: string(fsys["p.cedar"].Data)}})
	if img == nil {
		t.Fatal(l)
	}
	return img
}

// passes reports whether some message of a method passes from a client to a
// server, and whether its reply does.
func passes(img *image.Image, client, server string, method int) (call, reply bool) {
	find := func(name string) abi.DomainID {
		return abi.DomainID(slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == name }))
	}
	c := abi.NoDomain
	if client != "user" {
		c = find(client)
	}
	open := func(d *image.Decision) bool {
		return len(d.Permit) > 0 && !slices.ContainsFunc(d.Forbid, func(r image.Rule) bool { return r.When.Op == image.True })
	}
	for i := range img.Routes {
		if r := &img.Routes[i]; r.Client == c && r.Server == find(server) && !img.Domains[r.Server].Names {
			m := &r.Methods[method]
			return open(&m.Request), open(&m.Request) && open(&m.Reply)
		}
	}
	return false, false
}

const rings = 5

// Every bracket of five rings, from every ring and from outside: the policies
// say what the table says.
func TestMulticsTable(t *testing.T) {
	var brackets []ring.Bracket
	for n1 := range rings {
		for n2 := n1; n2 < rings; n2++ {
			for n3 := n2; n3 < rings; n3++ {
				brackets = append(brackets, ring.Bracket{N1: n1, N2: n2, N3: n3})
			}
		}
	}
	var y strings.Builder
	y.WriteString("ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/rings-multics]\nrings: [r0, r1, r2, r3, r4]\ndomains:\n")
	y.WriteString("  server:\n    program: /s\n    ring: r2\n    exports:\n      - interface: t.v1.T\n        socket: /run/t.sock\n        entry: [")
	for i := range brackets { // each bracket has an entry point and another method
		fmt.Fprintf(&y, "M%d, ", 2*i)
	}
	y.WriteString("]\n        methods:\n")
	for i, b := range brackets {
		fmt.Fprintf(&y, "          M%d: {bracket: [%d, r%d, %d]}\n          M%d: {bracket: [%d, %d, %d]}\n", 2*i, b.N1, b.N2, b.N3, 2*i+1, b.N1, b.N2, b.N3)
	}
	for i := range rings {
		fmt.Fprintf(&y, "  c%d: {program: /c, ring: r%d}\n", i, i)
	}
	fsys := files(y.String(), proto(2*len(brackets)+1), everything)
	img, control := compiled(t, fsys), without(t, fsys)
	for i, b := range brackets {
		for from := range rings + 1 {
			client, level := fmt.Sprintf("c%d", from), from
			if from == rings {
				client, level = "user", rings-1
			}
			for j, entry := range []bool{true, false} {
				got, reply := passes(img, client, "server", 2*i+j)
				if want := b.Allows(level, entry); got != want || reply != want {
					t.Errorf("%v from %s, entry point %v: %v, reply %v", b, client, entry, got, reply)
				}
				if ok, _ := passes(control, client, "server", 2*i+j); !ok {
					t.Errorf("control: %v from %s is denied without the model", b, client)
				}
			}
		}
	}
	// The last method has no bracket: its domain's ring and what is more trusted.
	for from := range rings {
		if got, _ := passes(img, fmt.Sprintf("c%d", from), "server", 2*len(brackets)); got != (from <= 2) {
			t.Errorf("no bracket, from ring %d: %v", from, got)
		}
	}
}

// The x86 rules for every current privilege level, level of the code, level of
// the gate and level of data.
func TestX86Table(t *testing.T) {
	for dpl := range 4 {
		var y strings.Builder
		fmt.Fprintf(&y, "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/rings-x86]\ndomains:\n  server:\n    program: /s\n    ring: %s\n", ringNames[dpl])
		y.WriteString("    exports:\n      - interface: t.v1.T\n        methods:\n")
		for gate := range 4 {
			fmt.Fprintf(&y, "          M%d: {bracket: [0, 0, %d]}\n", gate, gate)
		}
		for i, r := range ringNames {
			fmt.Fprintf(&y, "  c%d: {program: /c, ring: %s, files: {", i, r)
			for data, of := range ringNames {
				fmt.Fprintf(&y, "/data/%d: {mode: r, ring: %s}, ", data, of)
			}
			y.WriteString("/data/any: r}}\n")
		}
		fsys := files(y.String(), proto(5), everything)
		img, control := compiled(t, fsys), without(t, fsys)
		for cpl := range 4 {
			client := fmt.Sprintf("c%d", cpl)
			for gate := range 5 { // the fifth asks for nothing
				got, reply := passes(img, client, "server", gate)
				if want := ring.X86Call(cpl, cpl, gate, dpl); got != want || reply != want {
					t.Errorf("CPL %d, gate %d, code %d: %v, reply %v", cpl, gate, dpl, got, reply)
				}
				if ok, _ := passes(control, client, "server", gate); !ok {
					t.Errorf("control: CPL %d, gate %d", cpl, gate)
				}
			}
			d := img.Domains[cpl+1]
			for data := range 4 {
				if got := d.Files[data].Verdict.Allow; got != ring.X86Data(cpl, cpl, data) {
					t.Errorf("CPL %d reads data of ring %d: %v", cpl, data, got)
				}
				if !control.Domains[cpl+1].Files[data].Verdict.Allow {
					t.Errorf("control: CPL %d, data of ring %d", cpl, data)
				}
			}
			if !d.Files[4].Verdict.Allow {
				t.Error("a file without a ring is denied")
			}
		}
	}
}

var ringNames = []string{"kernel", "service", "system", "user"}

func TestDistance(t *testing.T) {
	for limit := 1; limit <= 3; limit++ {
		var y strings.Builder
		fmt.Fprintf(&y, "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [{model: ward/ring-distance, limit: %d}]\ndomains:\n", limit)
		for i, r := range ringNames {
			fmt.Fprintf(&y, "  c%d: {program: /c, ring: %s, exports: [{interface: t.v1.T, socket: /run/%d.sock}]}\n", i, r, i)
		}
		img := compiled(t, files(y.String(), proto(1), everything))
		for a := range 4 {
			for b := range 4 {
				if got, _ := passes(img, fmt.Sprintf("c%d", a), fmt.Sprintf("c%d", b), 0); a != b && got != (max(a-b, b-a) <= limit) {
					t.Errorf("limit %d, from %d to %d: %v", limit, a, b, got)
				}
			}
			if got, _ := passes(img, "user", fmt.Sprintf("c%d", a), 0); got != (3-a <= limit) {
				t.Errorf("limit %d, a user to ring %d: %v", limit, a, got)
			}
		}
	}
}

// Rings as a partial order: what passes, alone and with the direction of x86.
func TestPartialOrder(t *testing.T) {
	names := []string{"kernel", "database", "utilities", "tools", "user"}
	above := [][]string{{}, {"kernel"}, {"kernel"}, {"utilities"}, {"database", "tools"}}
	order, err := ring.New(names, above)
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []string{"ward/ring-order", "ward/rings-x86"} {
		var y strings.Builder
		fmt.Fprintf(&y, "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [%s]\nrings:\n", use)
		for i, n := range names {
			fmt.Fprintf(&y, "  %s: [%s]\n", n, strings.Join(above[i], ", "))
		}
		y.WriteString("domains:\n")
		for _, n := range names {
			fmt.Fprintf(&y, "  c-%s: {program: /c, ring: %s, exports: [t.v1.T]}\n", n, n)
		}
		fsys := files(y.String(), proto(1), everything)
		img, control := compiled(t, fsys), without(t, fsys)
		for a := range names {
			if int(img.Domains[a].Ring.Level) != order.Level(a) {
				t.Errorf("level of %s: %d", names[a], img.Domains[a].Ring.Level)
			}
			for b := range names {
				if a == b {
					continue
				}
				want := order.Comparable(a, b)
				if use == "ward/rings-x86" {
					want = order.Trusts(b, a)
				}
				got, reply := passes(img, "c-"+names[a], "c-"+names[b], 0)
				if got != want || reply != want {
					t.Errorf("%s: %s to %s: %v, reply %v", use, names[a], names[b], got, reply)
				}
				if ok, _ := passes(control, "c-"+names[a], "c-"+names[b], 0); !ok {
					t.Error("control")
				}
			}
		}
	}
}

// The lattice of secrecy and the chain of integrity: every pair of labels, a
// call of each flow, and users outside.
func TestFlowTable(t *testing.T) {
	labels := []ring.Label{{Level: 0}, {Level: 1}, {Level: 1, Categories: []string{"nato"}}, {Level: 1, Categories: []string{"crypto"}},
		{Level: 2, Categories: []string{"nato"}}, {Level: 2, Categories: []string{"crypto", "nato"}}}
	const service = `syntax = "proto3";
package t.v1;
message Q { int32 x = 1; }
message None {}
service T { rpc Both(Q) returns (Q); rpc Write(Q) returns (None); rpc Read(None) returns (Q); rpc Nothing(None) returns (None); }
`
	for _, model := range []string{"ward/mls", "ward/biba"} {
		var y strings.Builder
		fmt.Fprintf(&y, "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [%s]\ndomains:\n", model)
		for i, l := range labels {
			fmt.Fprintf(&y, "  c%d: {program: /c, label: {level: %d, categories: [%s], integrity: %d}, exports: [{interface: t.v1.T, socket: /run/%d, methods: {Write: {flow: call}, Read: {flow: reply}}}]}\n",
				i, l.Level, strings.Join(l.Categories, ", "), i%3, i)
		}
		fsys := files(y.String(), service, everything)
		img, control := compiled(t, fsys), without(t, fsys)
		for a := range len(labels) + 1 {
			for b := range labels {
				client := fmt.Sprintf("c%d", a)
				from, pure := ring.Label{}, 0
				if a == len(labels) {
					client = "user"
				} else {
					from, pure = labels[a], a%3
				}
				up, down := ring.Flows(from, labels[b]), ring.Flows(labels[b], from) // requests, replies
				if model == "ward/biba" {
					up, down = !ring.Taints(pure, b%3), !ring.Taints(b%3, pure)
				}
				if a == b {
					continue
				}
				for method, want := range [][2]bool{{up, up && down}, {up, up}, {true, down}, {up, up && down}} {
					call, reply := passes(img, client, fmt.Sprintf("c%d", b), method)
					if call != want[0] || reply != want[1] {
						t.Errorf("%s: %s to c%d, method %d: call %v, reply %v; want %v", model, client, b, method, call, reply, want)
					}
					if call, reply := passes(control, client, fmt.Sprintf("c%d", b), method); !call || !reply {
						t.Error("control")
					}
				}
			}
		}
	}
}

// Every model is there, with a page that says what it has to say.
func TestPages(t *testing.T) {
	for _, m := range system.Models {
		page := models.Page(m)
		for _, heading := range []string{"// " + m + ": ", "// SAYS. ", "// SOURCE. ", "// KIND. ", "// DOES NOT. "} {
			if !strings.Contains(page, heading) {
				t.Errorf("%s: no %q", m, heading)
			}
		}
		if n := strings.Count(page, "@id(\""+m+": "); n == 0 || n != strings.Count(page, "@id(") {
			t.Errorf("%s: IDs that do not begin with the model's name", m)
		}
		for i, line := range strings.Split(page, "\n") {
			if len([]rune(line)) > 150 {
				t.Errorf("%s:%d is longer than 150 characters", m, i+1)
			}
		}
	}
	if models.Page("ward/none") != "" {
		t.Error("a page for what is no model")
	}
}
