package system

// Keys of children: domains that a domain makes while the system runs.

const (
	maxChildren  = 1024 // of a system, at the same time (image.MaxChildren)
	maxDepth     = 6    // generations (image.MaxDepthOf)
	entryPattern = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+/[A-Za-z_][A-Za-z0-9_]*$`
	entryHint    = "an entry point, as pkg.v1.Service/Method"
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
	childrenShape = objectOf("How many children the domain may have at the same time; without it, none.",
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
