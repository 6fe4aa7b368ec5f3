package policy

import (
	"cmp"
	"slices"

	"ward/abi"
	"ward/image"
	"ward/system"
)

// Decisions on children and delegations are made now: who makes children of
// what, whether they may outlive it, and which entry points it may lend. All
// are default deny.

// entryNames are the entry points, as they are written outside Cedar.
func (w *world) entryNames() []string {
	var names []string
	for i, f := range w.set.Interfaces {
		if i == w.names {
			continue
		}
		for _, m := range f.Methods {
			names = append(names, f.Name+"/"+m.Name)
		}
	}
	return names
}

// decided is the decision on one of Ward's own actions that nothing implies.
func (c *compiler) decided(action string, t tuple) image.Verdict {
	const none = abi.NoPolicy
	v := c.verdict(action, t, none)
	if v.Policy == none {
		return denied
	}
	return v
}

// children fills in what domains say of their children, and decides on them.
func (c *compiler) children() {
	for i, d := range c.domains {
		out := &c.img.Domains[i]
		out.Template = d.Template
		out.Children = image.Children{Number: d.Children.Number, Depth: d.Children.Depth, Tree: d.Children.Tree}
		switch {
		case d.Inherit.Value == system.InheritAll:
			out.Children.Inherit = image.InheritAll
		case len(d.Passes) > 0:
			out.Children.Inherit = image.InheritListed
			out.Children.Passes = c.passes(d)
		}
	}
	for _, parent := range c.processes() {
		for _, template := range c.processes() {
			t := c.domains[template]
			if t.Names || !c.madeOf(parent, template) {
				continue
			}
			at := tuple{principal: parent, resource: template}
			if c.beside(parent, template) {
				continue
			}
			s := image.Spawn{Parent: clientOf(parent), Template: clientOf(template), Spawn: c.decided("spawn", at), Adopt: c.decided("adopt", at)}
			if s.Spawn == denied && s.Adopt == denied {
				continue
			}
			c.img.Spawns = append(c.img.Spawns, s)
			if c.isLowered(parent) || c.isLowered(template) {
				continue // what is to be said of it is said of the domain itself, or by unasked
			}
			if p := c.domains[parent]; s.Spawn.Allow && p.Children.Number == 0 {
				c.findings.Warnf(p.Pos, "add `children: {number: 4}` to it, or remove the permit",
					"policy %s lets %s make children of %s, but %s has no `children`, so it may have none", quote(c.img.Policies[s.Spawn.Policy].ID), p.Name.Value, t.Name.Value, p.Name.Value)
			}
			if s.Spawn.Allow && c.img.Domains[template].Ring.Level < c.img.Domains[parent].Ring.Level && len(t.Lower) == 0 {
				c.findings.Warnf(t.Pos, "put the template into the parent's ring or a less trusted one",
					"children of %s would be more trusted than their parent %s, so it cannot make any", t.Name.Value, c.domains[parent].Name.Value)
			}
		}
	}
	c.unasked()
}

// madeOf reports whether children of a domain may be made of another one: of a
// template, or of itself, in any of its rings.
func (c *compiler) madeOf(parent, template int) bool {
	if c.isLowered(template) && !c.domains[c.plain[template]].Template {
		return c.plain[parent] == c.plain[template]
	}
	return parent == template || c.domains[template].Template
}

// beside reports whether the rings of a domain and of what its children would be
// made of stand beside each other: then these would be trusted with what it is
// not. In a line of rings no two do, and who is more trusted has a lower level.
func (c *compiler) beside(parent, template int) bool {
	order := c.sys.Order
	return !order.Comparable(order.Find(c.domains[parent].Ring.Value), order.Find(c.domains[template].Ring.Value))
}

// unasked warns of rings in which nobody may ask for children.
func (c *compiler) unasked() {
	for i, d := range c.domains {
		may := func(s image.Spawn) bool {
			return int(s.Template) == i && s.Spawn.Allow && c.img.Domains[s.Parent].Ring.Level <= c.img.Domains[i].Ring.Level
		}
		if c.isLowered(i) && !slices.ContainsFunc(c.img.Spawns, may) {
			c.findings.Warnf(d.Pos, "permit it (`ward::Action::\"spawn\"`, where resource.ring is the child's), or remove the ring",
				"nobody may make children of %s in the ring %s", c.domains[c.plain[i]].Name.Value, d.Ring.Value)
		}
	}
}

// passes are the entry points that a domain's children inherit.
func (c *compiler) passes(d *system.Domain) []image.Entry {
	var list []image.Entry
	for _, p := range d.Passes {
		e, ok := c.entry(p.Value)
		if !ok {
			c.findings.Errorf(p.Pos, didYouMean(p.Value, c.entryNames(), "entry point"), "%q is no entry point of this system's interfaces", p.Value)
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(list, image.CompareEntries)
	return slices.Compact(list)
}

// entry finds an entry point by name.
func (c *compiler) entry(name string) (image.Entry, bool) {
	for i, f := range c.set.Interfaces {
		for m, method := range f.Methods {
			if i != c.names && f.Name+"/"+method.Name == name {
				return image.Entry{Interface: uint32(i), Method: uint32(m)}, true
			}
		}
	}
	return image.Entry{}, false
}

// grants decides on what may be delegated: of what a domain may call itself,
// each entry point once for each domain that may get it.
func (c *compiler) grants() {
	if len(c.own[c.ward["grant"]]) == 0 {
		return
	}
	seen := map[image.Grant]bool{}
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		if r.Client == abi.NoDomain || int(r.Interface) == c.names || c.isBox(int(r.Server)) {
			continue
		}
		f := &c.set.Interfaces[r.Interface]
		for m := range r.Methods {
			if len(r.Methods[m].Request.Permit) == 0 {
				continue
			}
			for _, to := range c.processes() {
				g := image.Grant{From: r.Client, To: clientOf(to), Entry: image.Entry{Interface: r.Interface, Method: uint32(m)}}
				if g.From == g.To || seen[g] {
					continue
				}
				seen[g] = true
				v := c.decided("grant", tuple{principal: int(r.Client), resource: to, entry: f.Name + "/" + f.Methods[m].Name})
				if v != denied {
					g.Verdict = v
					c.img.Grants = append(c.img.Grants, g)
				}
			}
		}
	}
	slices.SortFunc(c.img.Grants, func(a, b image.Grant) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), image.CompareEntries(a.Entry, b.Entry))
	})
}
