package system

import (
	"strings"

	"ward/ring"
)

// Keys of children: domains that a domain makes while the system runs.

const (
	maxChildren  = 1024 // of a system, at the same time (image.MaxChildren)
	maxDepth     = 6    // generations (image.MaxDepthOf)
	entryPattern = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+/[A-Za-z_][A-Za-z0-9_]*$`
	entryHint    = "an entry point, as pkg.v1.Service/Method"
	maxInRing    = 64 // bytes of a domain's name and a ring's, with "@" between (image.InRing)
)

// Values of Domain.Inherit beside a list.
const (
	InheritNone = "none"
	InheritAll  = "all"
)

var (
	templateShape = yesNo("Children are made of this domain (`ward::Action::\"spawn\"`); it is not started itself.")
	inheritShape  = anyOf("What children of this domain get of its rights to call without asking for it.",
		oneOf("`none` (the default): what the request lists, and no more; `all`: all that the domain may call and the child's template too.", InheritNone, InheritAll),
		listOf("These entry points.", maxEntries, str("An entry point.", entryPattern, entryHint)))
	lowerRingsShape = listOf("Less trusted rings in which children of this domain may be asked for, instead of in its own.", ring.Max, str("A ring.", namePattern, nameHint))
	childrenShape   = objectOf("How many children the domain may have at the same time; without it, none.",
		key{"number", true, number("Children.", 1, maxChildren)},
		key{"depth", false, number("Generations below the domain: 1, the default, lets children have none.", 1, maxDepth)},
		key{"tree", false, number("Descendants in all generations together; without it, as `number`.", 1, maxChildren)})
)

// Children is the entry `children` of a domain; Number 0: none.
type Children struct{ Number, Depth, Tree uint32 }

// children reads what is said of a domain's children, and of what they are made of.
func (b *builder) children(d *Domain, v *value) {
	if t := v.get("template"); t != nil {
		d.Template = t.yes
	}
	if i := v.get("inherit"); i != nil {
		d.Inherit = v.string("inherit")
		d.Passes = b.unique(v.strings("inherit"), "inherited entry point")
	}
	if c := v.get("children"); c != nil {
		d.Children = Children{uint32(c.number("number")), max(uint32(c.number("depth")), 1), uint32(c.number("tree"))}
		if d.Children.Tree == 0 {
			d.Children.Tree = d.Children.Number
		}
	}
	if !d.Template {
		return
	}
	for _, key := range []string{"exports", "listen", "once", "restart", "needs", "notify"} {
		if w := v.get(key); w != nil {
			b.out.Errorf(w.pos, "leave it out", "domain %q is a template: its children live as long as their parent wants, and others do not call them, so `%s` says nothing", d.Name.Value, key)
		}
	}
	if d.Names {
		b.out.Errorf(d.Pos, "leave `template` out", "the name server is no template")
	}
}

// lowerRings reads in which other rings children of a domain may be asked for.
func (b *builder) lowerRings(d *Domain, v *value) {
	order := b.sys.Order
	for _, r := range b.unique(v.strings("lower_rings"), "ring") {
		own, other := order.Find(d.Ring.Value), order.Find(r.Value)
		switch {
		case other < 0:
			b.out.Errorf(r.Pos, b.ringFix(r.Value), "lower_rings of domain %q: unknown ring %q", d.Name.Value, r.Value)
		case own < 0: // a finding already
		case own == other || !order.Trusts(own, other):
			b.out.Errorf(r.Pos, b.lowerFix(own), "lower_rings of domain %q: %q is no less trusted than its ring %q", d.Name.Value, r.Value, d.Ring.Value)
		case d.Names:
			b.out.Errorf(r.Pos, "leave `lower_rings` out", "no children are made of the name server")
		case len(d.Name.Value)+1+len(r.Value) > maxInRing:
			b.out.Errorf(r.Pos, "choose a shorter name", "the names of domain %q and of ring %q have more than %d characters together", d.Name.Value, r.Value, maxInRing-1)
		default:
			d.Lower = append(d.Lower, r)
		}
	}
}

// lowerFix says which rings are less trusted than one.
func (b *builder) lowerFix(own int) string {
	var names []string
	for i, n := range b.sys.Order.Names() {
		if i != own && b.sys.Order.Trusts(own, i) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "leave it out: no ring is less trusted"
	}
	return "less trusted are " + strings.Join(names, ", ")
}
