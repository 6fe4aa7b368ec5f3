package image

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
)

// live is a small system in two versions: the second has its domains and
// policies in another order, a domain and a policy more, and one of each less.
func live(second bool) *Image {
	yes := func(p uint32) Verdict { return Verdict{Allow: true, Policy: p} }
	rule := func(p uint32) []Rule { return []Rule{{Policy: p, When: Expr{Op: True}}} }
	domain := func(name string, p uint32, exports ...Export) Domain {
		return Domain{Name: name, Program: "/bin/" + name, Ring: Ring{3, "user"}, Start: yes(p), Exports: exports}
	}
	img := &Image{Name: "s", Messages: []Message{{Name: "M"}},
		Interfaces: []Interface{{"a.A", []Method{{Name: "Do"}}}},
		States:     []State{{Name: "mode", Per: PerDomain, Values: []string{"off", "on"}}}}
	methods := func(forbid, permit []Rule) []MethodPolicy {
		return []MethodPolicy{{Request: Decision{Forbid: forbid, Permit: permit}}}
	}
	if !second {
		img.Policies = []Policy{{ID: "start", Source: "p:1"}, {ID: "old", Source: "p:2"}, {ID: "no", Source: "p:3", Forbid: true}}
		img.Domains = []Domain{domain("server", 0, Export{0, "", yes(0)}), domain("one", 0), domain("two", 0)}
		img.Users = []string{"alice", "bob"}
		img.Routes = []Route{{Client: 1, Server: 0, Connect: yes(1), Lookup: yes(1), Methods: methods(rule(2), rule(1))},
			{Client: 2, Server: 0, Connect: yes(1), Lookup: yes(1), Methods: methods(nil, rule(1))}}
		img.Cells = []Cell{{State: 0, Domain: 1, Word: 0, Shift: 0, Bits: 1}}
		img.Words = 1
		return img
	}
	img.Policies = []Policy{{ID: "new", Source: "q:1"}, {ID: "no", Source: "q:2", Forbid: true}, {ID: "start", Source: "q:3"}}
	img.Interfaces = append([]Interface{{"b.B", []Method{{Name: "Else"}}}}, img.Interfaces...)
	img.Domains = []Domain{domain("three", 2), domain("one", 2), domain("server", 2, Export{1, "", yes(2)}, Export{0, "", yes(2)})}
	img.Users = []string{"carol", "bob"}
	img.Routes = []Route{{Client: 0, Server: 2, Interface: 0, Connect: yes(0), Lookup: yes(0), Methods: methods(nil, rule(0))},
		{Client: 1, Server: 2, Interface: 1, Connect: yes(0), Lookup: yes(0), Methods: methods(rule(1), rule(0))},
		{Client: abi.NoDomain, Server: 2, Interface: 1, Connect: Verdict{Policy: abi.NoPolicy}, Lookup: Verdict{Policy: abi.NoPolicy},
			ConnectUser: Decision{Permit: []Rule{{Policy: 0, When: Expr{Op: Or, Args: []Expr{{Op: User}, {Op: User, Atom: 1}}}}}},
			Methods:     methods(nil, rule(0))}}
	img.Cells = []Cell{{State: 0, Domain: 1, Word: 0, Shift: 0, Bits: 1}, {State: 0, Domain: 0, Word: 1, Shift: 0, Bits: 1}}
	img.Words = 2
	return img
}

func TestAlign(t *testing.T) {
	running, fresh := live(false), live(true)
	for _, img := range []*Image{running, fresh} {
		if err := img.Check(); err != nil {
			t.Fatal(err)
		}
	}
	before := Encode(fresh)
	got, err := Align(running, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, Encode(fresh)) {
		t.Error("the new image was changed")
	}
	if !got.Aligned(running) {
		t.Error("the result does not have the numbers of the running image")
	}
	if fresh.Aligned(running) {
		t.Error("a control: the image as it was compiled passes for aligned")
	}
	names := func(n int, name func(int) string) (all []string) {
		for i := range n {
			all = append(all, name(i))
		}
		return all
	}
	domains := names(len(got.Domains), func(i int) string { return got.Domains[i].Name })
	if want := []string{"server", "one", "two", "three"}; !slices.Equal(domains, want) {
		t.Errorf("domains %q, want %q", domains, want)
	}
	policies := names(len(got.Policies), func(i int) string { return got.Policies[i].ID + " " + got.Policies[i].Source })
	if want := []string{"start q:3", "old p:2", "no q:2", "new q:1"}; !slices.Equal(policies, want) {
		t.Errorf("policies %q, want %q", policies, want)
	}
	if want := []string{"alice", "bob", "carol"}; !slices.Equal(got.Users, want) {
		t.Errorf("users %q, want %q", got.Users, want)
	}
	if two := got.Domains[2]; two.Start.Allow || two.Program == "" {
		t.Errorf("what is left of a domain: %+v", two)
	}
	type line struct {
		client, server  abi.DomainID
		iface           uint32
		connect         Verdict
		forbids, permit int // policy + 1
	}
	var routes []line
	for _, r := range got.Routes {
		l := line{r.Client, r.Server, r.Interface, r.Connect, 0, 0}
		if f := r.Methods[0].Request.Forbid; len(f) > 0 {
			l.forbids = int(f[0].Policy) + 1
		}
		if p := r.Methods[0].Request.Permit; len(p) > 0 {
			l.permit = int(p[0].Policy) + 1
		}
		routes = append(routes, l)
	}
	def := Verdict{Policy: abi.NoPolicy}
	want := []line{{1, 0, 0, Verdict{true, 3}, 3, 4}, {2, 0, 0, def, 0, 0}, {3, 0, 1, Verdict{true, 3}, 0, 4}, {abi.NoDomain, 0, 0, def, 0, 4}}
	if d := cmp.Diff(want, routes, cmp.AllowUnexported(line{})); d != "" {
		t.Error(d)
	}
	atoms := got.Routes[3].ConnectUser.Permit[0].When.Args
	if atoms[0].Atom != 2 || atoms[1].Atom != 1 {
		t.Errorf("users in a condition: %d and %d", atoms[0].Atom, atoms[1].Atom)
	}
	if got.Cells[0].Domain != 1 || got.Cells[1].Domain != 3 {
		t.Errorf("cells of domains: %+v", got.Cells)
	}
	again, err := Align(got, fresh)
	if err != nil || !bytes.Equal(Encode(again), Encode(got)) {
		t.Errorf("aligning again changes something: %v\n%s", err, cmp.Diff(got, again))
	}
	back, err := Align(got, running)
	if err != nil || !back.Domains[2].Start.Allow || back.Domains[3].Start.Allow || !back.Routes[1].Connect.Allow || back.Routes[2].Connect.Allow {
		t.Errorf("the way back: %v\n%+v", err, back)
	}
}

func TestAlignSelf(t *testing.T) {
	for _, img := range []*Image{sample(), live(false), live(true)} {
		got, err := Align(img, img)
		if err != nil || !bytes.Equal(Encode(got), Encode(img)) {
			t.Errorf("%s: %v\n%s", img.Name, err, cmp.Diff(img, got))
		}
	}
}

func TestAlignRefuses(t *testing.T) {
	for _, test := range []struct {
		what   string
		change func(*Image)
		want   string
	}{
		{"another system", func(i *Image) { i.Name = "other" }, `the system "other"`},
		{"a state elsewhere", func(i *Image) { i.Cells[0].Shift = 1 }, "cannot keep its place"},
		{"values in another order", func(i *Image) { i.States[0].Values = []string{"on", "off"} }, "its values may only get more"},
		{"a new state where one is that goes", func(i *Image) { i.States[0].Name, i.Cells = "other", i.Cells[:1] }, "would take the place in memory of state mode"},
		{"a value less", func(i *Image) { i.States[0].Values = []string{"off"} }, "its values may only get more"},
	} {
		fresh := live(true)
		if _, err := Align(live(false), fresh); err != nil {
			t.Fatal("a control:", err)
		}
		test.change(fresh)
		if _, err := Align(live(false), fresh); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
	}
}
