package compare

import (
	"fmt"
	"slices"
	"strings"

	"ward/image"
)

// Rights beside those to send messages: over the running system, and of
// domains over children and delegations.

// operators compares who may put another image into force, and who may set which
// state by hand to which value.
func (c *comparer) operators() {
	c.decisions(pair{side{c.old, &c.old.Reload, nil}, side{c.new, &c.new.Reload, nil}}, Change{Event: "reload", From: Users})
	before, after := c.old.setting(), c.new.setting()
	for _, name := range union(before, after) {
		o, n := before[name], after[name]
		if o == nil {
			o = new(image.Decision)
		}
		if n == nil {
			n = new(image.Decision)
		}
		c.decisions(pair{side{c.old, o, nil}, side{c.new, n, nil}}, Change{Event: "set", From: Users, Object: name})
	}
}

// setting is the decisions on who may set a state, by STATE=VALUE.
func (x *index) setting() map[string]*image.Decision {
	all := map[string]*image.Decision{}
	for i := range x.States {
		s := &x.States[i]
		for v := range s.Set {
			all[s.Name+"="+s.Values[v]] = &s.Set[v]
		}
	}
	return all
}

// kin compares who may make children of what, and who may let whom call an
// entry point in its name. What is not in an image is denied.
func (c *comparer) kin() {
	spawns := func(x *index) map[[2]string]image.Spawn {
		all := map[[2]string]image.Spawn{}
		for _, s := range x.Spawns {
			all[[2]string{x.Domains[s.Parent].Name, x.Domains[s.Template].Name}] = s
		}
		return all
	}
	before, after := spawns(c.old), spawns(c.new)
	for _, k := range pairs(before, after) {
		o, n := image.Spawn{Spawn: denied, Adopt: denied}, image.Spawn{Spawn: denied, Adopt: denied}
		if s, there := before[k]; there {
			o = s
		}
		if s, there := after[k]; there {
			n = s
		}
		c.verdict(o.Spawn, n.Spawn, Change{Event: "spawn", From: k[0], To: k[1]})
		c.verdict(o.Adopt, n.Adopt, Change{Event: "adopt", From: k[0], To: k[1], Detail: "whether its children live on when it ends"})
	}
	was, is := c.old.grants(), c.new.grants()
	for _, k := range union(was, is) {
		o, n := image.Grant{Verdict: denied}, image.Grant{Verdict: denied}
		if g, there := was[k]; there {
			o = g
		}
		if g, there := is[k]; there {
			n = g
		}
		words := strings.Fields(k)
		c.verdict(o.Verdict, n.Verdict, Change{Event: "grant", From: words[0], To: words[1], Method: words[2]})
	}
}

func pairs[V any](a, b map[[2]string]V) (all [][2]string) {
	for _, m := range []map[[2]string]V{a, b} {
		for k := range m {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(all)
}

// entry names an entry point: pkg.Service/Method.
func (x *index) entry(e image.Entry) string {
	i := &x.Interfaces[e.Interface]
	return i.Name + "/" + i.Methods[e.Method].Name
}

// grants are the decisions on delegations, by both domains and the entry point.
func (x *index) grants() map[string]image.Grant {
	all := map[string]image.Grant{}
	for _, g := range x.Grants {
		all[x.Domains[g.From].Name+" "+x.Domains[g.To].Name+" "+x.entry(g.Entry)] = g
	}
	return all
}

// inheritance compares what the children of a domain may have of its rights.
func (c *comparer) inheritance(name string, o, n *image.Domain) {
	has := func(x *index, d *image.Domain) []string {
		switch d.Children.Inherit {
		case image.InheritAll:
			return []string{"all"}
		case image.InheritListed:
			var all []string
			for _, e := range d.Children.Passes {
				all = append(all, x.entry(e))
			}
			return all
		}
		return nil
	}
	words := func(list []string) string {
		if len(list) == 0 {
			return "nothing"
		}
		return strings.Join(list, ", ")
	}
	before, after := has(c.old, o), has(c.new, n)
	if words(before) == words(after) {
		return
	}
	wider := slices.ContainsFunc(after, func(e string) bool { return !slices.Contains(before, e) }) && !slices.Contains(before, "all")
	c.add(Change{Event: "setting", Change: Changed, NewAccess: wider, From: name, Object: "inherit",
		Detail: fmt.Sprintf("what its children may have of its rights: %s → %s", words(before), words(after))})
}

// silence compares whether a message that may pass on both sides is declared to
// carry nothing: then no metadata goes with it, and an error in the place of such
// a reply says no more than its code.
func (c *comparer) silence(p pair, x Change) {
	if p.old.decision.Silent == p.new.decision.Silent || !live(p.old.decision) || !live(p.new.decision) {
		return
	}
	x.Change, x.NewAccess, x.Detail = Changed, true, "no longer declared to carry nothing (`flow`): metadata may go with it"
	errors := ", and an error in its place may say more than its code"
	if p.new.decision.Silent {
		x.NewAccess, x.Detail = false, "declared to carry nothing (`flow`): no metadata goes with it"
		errors = ", and an error in its place says its code only"
	}
	if x.Event == "reply" {
		x.Detail += errors
	}
	c.add(x)
}
