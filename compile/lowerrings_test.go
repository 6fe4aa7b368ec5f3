package compile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ward/abi"
	"ward/compile"
	"ward/image"
)

// Models and mailboxes do not go together.
var (
	withModels = []string{"USE", "use: [ward/rings-x86, ward/ring-distance, ward/low-water-mark]", "BOX", "", "DATA", "data: r3, ", "OF", ", ring: r2"}
	withoutAny = []string{"USE", "use: []", "BOX", ", box: { kind: mailbox, interface: a.v1.Post }", "DATA", "", "OF", ""}
)

// lowerRingsYAML has a template (worker) and a domain of which children are made
// (desk). RING and LOWER stand for what the test says of them.
const lowerRingsYAML = `ward: 1
name: x
interfaces: [a.proto]
policy: [a.cedar]
USE
state: { once: { per: domain, values: [no, yes], moves: { no: [yes] } }, seen: { per: gate, values: [no, yes], moves: { no: [yes] } } }
objects: { frame: { kind: memory, size: 64KiB }BOX }
rings: [r0, r1, r2, r3, r4]
domains:
  top: { program: /bin/top, ring: r0, children: { number: 9, depth: 3 }, exports: [a.v1.A] }
  server: { program: /bin/server, ring: r1, exports: [{ interface: a.v1.A, DATAtrust: within-ring }] }
  peer: { program: /bin/peer, ring: r3, exports: [a.v1.A] }
  worker: { program: /bin/worker, template: true, WORKER, roles: [hand], children: { number: 2 }, files: { /srv/a: { mode: rOF }, /srv/b: rw, /srv/c: r }, connect: ["tcp:*:443", "tcp:*:25"], label: { integrity: 1 } }
  desk: { program: /bin/desk, DESK, children: { number: 2, depth: 2 }, listen: { x: "tcp:127.0.0.1:80" }, exports: [a.v1.A], label: { integrity: 2 } }
  leaf: { program: /bin/leaf, template: true, ring: r4 }
`

const lowerRingsProto = `syntax = "proto3";
package a.v1;
message M { int64 n = 1; string s = 2; }
message Nothing {}
service A { rpc Do(M) returns (M); rpc Enter(M) returns (M); rpc Rated(M) returns (M); }
service Post { rpc Put(M) returns (Nothing); }
`

// lowerRingsCedar looks at rings in every way that a policy can.
const lowerRingsCedar = `
@id("all") permit (principal, action in a::v1::Action::"A", resource) when { context.n < 10 * principal.ring.level };
@id("names") permit (principal == Domain::"worker", action == a::v1::Action::"A.Do", resource) when { ["r2", "r4"].contains(principal.ring.name) && context.s like "a*" };
@id("hands") permit (principal in Role::"hand", action == a::v1::Action::"A.Enter", resource == Domain::"peer") when { principal.ring.above.contains("r3") };
@id("by if") forbid (principal, action == a::v1::Action::"A.Do", resource) when { (if principal.ring.level > 2 then principal else resource).ring.level >= 3 && context.n > 5 };
@id("by record") forbid (principal, action == a::v1::Action::"A.Rated", resource) when { {who: principal, n: 1}.who.ring.name == "r4" && context.n == 3 };
@id("rates") @rate("5/s burst 2") permit (principal == Domain::"worker", action == a::v1::Action::"A.Rated", resource == Domain::"server") when { principal.ring.level == 3 };
@id("enters") @enter("principal.once=yes") permit (principal is Domain, action == a::v1::Action::"A.Enter", resource == Domain::"server") when { principal.state.once == "no" && principal.ring.level <= 3 };
@id("sees") @enter("gate.seen=yes") permit (principal == Domain::"desk", action == a::v1::Action::"A.Enter", resource == Domain::"peer") when { principal has ring && principal.ring.level == 2 };
@id("answers") permit (principal, action in a::v1::Action::"A.reply", resource == Domain::"worker") when { resource.ring.level < 4 && context.n < resource.ring.level };
@id("no answers") forbid (principal == Domain::"server", action == a::v1::Action::"A.Do.reply", resource) when { resource.ring.name == "r4" && resource.state.once == "yes" };
@id("makes memory") permit (principal, action == ward::Action::"create", resource == Object::"frame");
@id("no network") forbid (principal, action == ward::Action::"open.connect", resource == Object::"tcp:*:25") when { principal.ring.level >= 3 };
@id("no file") forbid (principal, action == ward::Action::"open.write", resource == Object::"/srv/b") when { principal.ring.name == "r4" };
@id("no lookup") forbid (principal, action == ward::Action::"lookup", resource == Domain::"peer") when { principal.ring.level == 4 };
@id("no connect") forbid (principal == Domain::"worker", action == ward::Action::"connect", resource is Domain) when { principal.ring.level == 2 && resource.ring.level == 0 };
@id("no start") forbid (principal, action == ward::Action::"start", resource == Domain::"worker") when { resource.ring.name == "r3" && resource.name != "worker" };
@id("spawns") permit (principal == Domain::"top", action == ward::Action::"spawn", resource) when { resource.ring.level >= 1 };
@id("no spawn") forbid (principal, action == ward::Action::"spawn", resource == Domain::"worker") when { resource.ring.level == 3 };
@id("grandchildren") permit (principal == Domain::"worker", action == ward::Action::"spawn", resource == Domain::"leaf") unless { principal.ring.level == 3 };
@id("copies") permit (principal == Domain::"desk", action == ward::Action::"spawn", resource == Domain::"desk") when { resource.ring.level <= 3 && principal.ring.level <= resource.ring.level };
@id("adopts") permit (principal == Domain::"top", action == ward::Action::"adopt", resource) when { resource.ring.level >= 3 };
@id("lends") permit (principal, action == ward::Action::"grant", resource) when { context.entry == "a.v1.A/Do" && principal.ring.level <= 3 && resource.ring.level >= 2 };
`

const lowerRingsBox = `
@id("posts") permit (principal, action == a::v1::Action::"Post.Put", resource == Object::"box") when { principal.ring.level <= 3 };
@id("reads") permit (principal == Domain::"server", action == ward::Action::"open.read", resource == Object::"box");
`

func lowerRings(t *testing.T, with []string, worker, desk string) *image.Image {
	t.Helper()
	cedar := lowerRingsCedar
	if with[3] != "" {
		cedar += lowerRingsBox
	}
	r, l := compile.Dir(fstest.MapFS{
		"system.yaml": {Data: []byte(strings.NewReplacer(append([]string{"WORKER", worker, "DESK", desk}, with...)...).Replace(lowerRingsYAML))},
		"a.proto":     {Data: []byte(lowerRingsProto)}, "a.cedar": {Data: []byte(cedar)},
	})
	if l.Failed() {
		t.Fatal(l)
	}
	img, err := image.Decode(image.Encode(r.Image))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A picture is all that an image says of one domain, in words: of numbers that
// differ between two images the names.
type picture struct {
	*image.Image
	of    abi.DomainID
	is    string // the name that it has in the picture
	lines []string
}

func (p *picture) add(format string, args ...any) {
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

func (p *picture) verdict(v image.Verdict) string {
	if v.Policy == abi.NoPolicy {
		return fmt.Sprint(v.Allow)
	}
	return fmt.Sprintf("%v by %s", v.Allow, p.Policies[v.Policy].ID)
}

func (p *picture) domain(d abi.DomainID) string {
	switch d {
	case p.of:
		return p.is
	case abi.NoDomain:
		return "a user"
	}
	return p.Domains[d].Name
}

func (p *picture) cell(c uint32) string {
	cell := p.Cells[c]
	if s := p.States[cell.State]; s.Per == image.PerDomain {
		return s.Name + " of " + p.domain(cell.Domain)
	}
	return p.States[cell.State].Name
}

func (p *picture) expr(e *image.Expr) string {
	side := func(o image.Operand) string {
		if o.What == image.CellValue {
			return p.cell(o.Cell)
		}
		return fmt.Sprintf("%+v", o)
	}
	s := fmt.Sprintf("%d %s %s %v %v %d(", e.Op, side(e.Left), side(e.Right), e.Set, e.Path, e.Atom)
	for i := range e.Args {
		s += p.expr(&e.Args[i]) + ";"
	}
	return s + ")"
}

func (p *picture) decision(what string, d *image.Decision) {
	for i, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for _, r := range rules {
			enter := ""
			for _, e := range r.Enter {
				enter += fmt.Sprintf(" %s=%d", p.cell(e.Cell), e.Value)
			}
			p.add("%s: %s %s when %s rate %v enter%s audit %v silent %v", what, []string{"forbid", "permit"}[i], p.Policies[r.Policy].ID, p.expr(&r.When), r.Rate, enter, r.Audit, d.Silent)
		}
	}
}

// pictureOf is what an image says of one domain. Others are those of which it
// is not, in another ring: what is between the two of them one image has only.
func pictureOf(img *image.Image, name, is string, others ...string) string {
	p := &picture{Image: img, is: is}
	p.of = abi.DomainID(slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == name }))
	other := func(d abi.DomainID) bool {
		return d != abi.NoDomain && d != p.of && slices.Contains(others, img.Domains[d].Name)
	}
	d := img.Domains[p.of]
	p.add("ring %v, starts %s, connects to %v, quota %+v, children %+v", d.Ring, p.verdict(d.Start), d.Connect, d.Quota, d.Children)
	for _, f := range d.Files {
		p.add("file %s %d %s", f.Path, f.Access, p.verdict(f.Verdict))
	}
	for _, r := range img.Routes {
		if r.Client != p.of || other(r.Server) {
			continue
		}
		what := fmt.Sprintf("to %s of %s", img.Interfaces[r.Interface].Name, p.domain(r.Server))
		p.add("%s: connect %s, lookup %s", what, p.verdict(r.Connect), p.verdict(r.Lookup))
		for m := range r.Methods {
			method := what + " " + img.Interfaces[r.Interface].Methods[m].Name
			p.decision(method, &r.Methods[m].Request)
			p.decision(method+" back", &r.Methods[m].Reply)
		}
	}
	for _, s := range img.Spawns {
		if (s.Parent == p.of || s.Template == p.of) && !other(s.Parent) && !other(s.Template) && s.Parent != s.Template {
			p.add("%s makes %s: %s, adopted %s", p.domain(s.Parent), p.domain(s.Template), p.verdict(s.Spawn), p.verdict(s.Adopt))
		}
	}
	for _, g := range img.Grants {
		if (g.From == p.of || g.To == p.of) && !other(g.From) && !other(g.To) {
			p.add("%s lends %s %d: %s", p.domain(g.From), p.domain(g.To), g.Entry.Method, p.verdict(g.Verdict))
		}
	}
	for _, o := range img.Objects {
		p.add("%s: %s, %s, %s", o.Name, p.verdict(o.Create[p.of]), p.verdict(o.Read[p.of]), p.verdict(o.Write[p.of]))
	}
	slices.Sort(p.lines)
	return strings.Join(p.lines, "\n")
}

// TestLowerRingIsThatOfATemplate is the oracle of children in other rings: all
// that is decided of what is made of a template in a ring is what is decided of
// the template in a system that states that ring of it, for all rings.
func TestLowerRingIsThatOfATemplate(t *testing.T) {
	rings := []string{"r0", "r1", "r2", "r3", "r4"}
	inAll := func(name, ring string) (all []string) {
		for _, r := range rings {
			if r != ring {
				all = append(all, image.InRing(name, r))
			}
		}
		return append(all, name)
	}
	for name, with := range map[string][]string{"models": withModels, "mailbox": withoutAny} {
		t.Run(name, func(t *testing.T) { comparesRings(t, rings, with, inAll) })
	}
}

func comparesRings(t *testing.T, rings, with []string, inAll func(name, ring string) []string) {
	seen := map[string]bool{}
	for own := range rings {
		list := func(from int) string {
			return "ring: " + rings[from] + ", lower_rings: [" + strings.Join(rings[from+1:], ", ") + "]"
		}
		for _, r := range rings[own+1:] {
			for _, name := range []string{"worker", "desk"} {
				asks, states := []string{list(own), "ring: r2"}, []string{"ring: " + r, "ring: r2"}
				if name == "desk" {
					slices.Reverse(asks)
					slices.Reverse(states)
				}
				at := image.InRing(name, r)
				got := pictureOf(lowerRings(t, with, asks[0], asks[1]), at, name, inAll(name, r)...)
				want := pictureOf(lowerRings(t, with, states[0], states[1]), name, name)
				if name == "desk" {
					got, want = ofCopies(got), ofCopies(want)
				}
				seen[want] = true
				if got != want {
					t.Errorf("%s has\n%s\nand not, as in a system that states the ring,\n%s", at, beyond(got, want), beyond(want, got))
				}
			}
		}
	}
	if len(seen) < 8 { // the control: what is compared differs from ring to ring
		t.Errorf("only %d pictures differ: the policies look at rings too little", len(seen))
	}
}

// beyond are the lines of a that b has not.
func beyond(a, b string) string {
	theirs := slices.Collect(strings.Lines(b))
	return strings.Join(slices.DeleteFunc(slices.Collect(strings.Lines(a)), func(l string) bool { return slices.Contains(theirs, l) }), "")
}

// ofCopies leaves out what a domain has that serves others and is started, and
// copies of it have not: names that it publishes, objects; and what others lend
// that call it.
func ofCopies(s string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(s, "\n"), func(line string) bool {
		return strings.Contains(line, "names Publish") || strings.Contains(line, "names Withdraw") || strings.Contains(line, " lends desk") ||
			strings.HasPrefix(line, "frame:") || strings.HasPrefix(line, "box:")
	}), "\n")
}

// TestNoLowerRingsNoCost: a system that lists no other rings is compiled as ever.
func TestNoLowerRingsNoCost(t *testing.T) {
	without := lowerRings(t, withModels, "ring: r1", "ring: r1")
	with := lowerRings(t, withModels, "ring: r1, lower_rings: [r4]", "ring: r1")
	if n := len(without.Domains); len(with.Domains) != n+1 || with.Domains[n].Name != "worker@r4" {
		t.Errorf("%d domains, and %d with another ring", n, len(with.Domains))
	}
	for i := range without.Domains {
		if with.Domains[i].Name != without.Domains[i].Name {
			t.Errorf("domain %d is %s and %s: the numbers move", i, without.Domains[i].Name, with.Domains[i].Name)
		}
	}
	if slices.ContainsFunc(without.Domains, func(d image.Domain) bool { return strings.Contains(d.Name, "@") }) {
		t.Error("there are domains in other rings that nobody asked for")
	}
}

// TestRingsBeside: of a template in a ring that stands beside its parent's none is
// made, nor in such a ring, whatever policies permit. The controls: rings below.
func TestRingsBeside(t *testing.T) {
	r, l := compile.Dir(fstest.MapFS{
		"system.yaml": {Data: []byte(`ward: 1
name: x
policy: [a.cedar]
rings: { top: [], left: [top], right: [top], under: [left, right], lowest: [left] }
domains:
  top: { program: /bin/x, ring: top, children: { number: 2 } }
  parent: { program: /bin/x, ring: left, children: { number: 2 } }
  below: { program: /bin/x, template: true, ring: under }
  beside: { program: /bin/x, template: true, ring: right, lower_rings: [under] }
  wide: { program: /bin/x, template: true, ring: top, lower_rings: [left, right, under, lowest] }
`)},
		"a.cedar": {Data: []byte(`@id("all") permit (principal, action == ward::Action::"spawn", resource);`)},
	})
	if l.Failed() {
		t.Fatal(l)
	}
	img := r.Image
	at := func(name string) abi.DomainID {
		return abi.DomainID(slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == name }))
	}
	for template, may := range map[string]bool{"below": true, "beside": false, "beside@under": true, "wide": false, "wide@left": true, "wide@right": false, "wide@under": true, "wide@lowest": true} {
		if _, _, err := image.NewFamily(img).Add(image.FirstChild, at("parent"), at(template), "child", image.ChildQuota{}, false); (err == nil) != may {
			t.Errorf("%s: %v", template, err)
		}
		if _, _, err := image.NewFamily(img).Add(image.FirstChild, at("top"), at(template), "child", image.ChildQuota{}, false); err != nil {
			t.Errorf("%s, of who is more trusted than all: %v", template, err)
		}
	}
}
