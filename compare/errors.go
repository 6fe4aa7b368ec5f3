package compare

import (
	"fmt"
	"slices"

	"ward/filter"
	"ward/image"
)

// What passes beside the messages that a policy decides on: errors in the place
// of replies, and metadata that no condition looks at. How much of them does
// follows from what the policy says of the messages, so it may change where no
// message flips.

// maxClients bounds the combinations of users and groups that are tried.
const maxClients = 1 << 12

// errors compares whether errors in the place of a reply say their code only.
// told is what was reported of the reply itself: where that says that there is
// new access, or that there is less, nothing is added to it.
func (c *comparer) errors(request, reply pair, x Change, told []Change) {
	if !live(request.old.decision) || !live(request.new.decision) || reply.old.decision.Silent != reply.new.decision.Silent {
		return // nobody is answered on both sides, or silence says it
	}
	if reply.old.normal() == reply.new.normal() && reply.old.effects() == reply.new.effects() {
		return
	}
	users, groups := reply.named()
	x.Change = Changed
	if len(groups) > 12 || (len(users)+1)<<len(groups) > maxClients {
		if !slices.ContainsFunc(told, func(t Change) bool { return t.NewAccess }) {
			x.Change, x.Detail = Open, fmt.Sprintf("the policies look at %d users and %d groups: that an error in its place may say more than before could not be excluded", len(users), len(groups))
			c.add(x)
		}
		return
	}
	narrower := false
	for _, user := range append([]string{""}, users...) {
		for set := range 1 << len(groups) {
			var in []string
			for i, g := range groups {
				if set>>i&1 == 1 {
					in = append(in, g)
				}
			}
			was, is := reply.old.terse(user, in), reply.new.terse(user, in)
			if was && !is && !slices.ContainsFunc(told, func(t Change) bool { return t.NewAccess }) {
				x.NewAccess, x.User, x.Groups = true, user, in
				x.Detail = "an error in its place may say more than its code now: text, details, metadata"
				c.add(x)
				return
			}
			narrower = narrower || is && !was
		}
	}
	if narrower && len(told) == 0 {
		x.Detail = "an error in its place says its code only now"
		c.add(x)
	}
}

// terse reports whether errors in the place of a reply to a client say their
// code only. Of users outside it depends on who it is.
func (s side) terse(user string, groups []string) bool {
	atoms := filter.Atoms{User: slices.Index(s.Users, user)}
	for _, g := range groups {
		if i := slices.Index(s.Groups, g); i >= 0 {
			atoms.Groups = append(atoms.Groups, i)
		}
	}
	return filter.Terse(*s.decision, atoms)
}

// named are the users and groups that conditions of a pair are about.
func (p pair) named() (users, groups []string) {
	for _, s := range []side{p.old, p.new} {
		var walk func(e *image.Expr)
		walk = func(e *image.Expr) {
			switch e.Op {
			case image.User:
				users = append(users, s.Users[e.Atom])
			case image.Group:
				groups = append(groups, s.index.Groups[e.Atom])
			}
			for i := range e.Args {
				walk(&e.Args[i])
			}
		}
		for _, rules := range [][]image.Rule{s.decision.Forbid, s.decision.Permit} {
			for i := range rules {
				walk(&rules[i].When)
			}
		}
	}
	slices.Sort(users)
	slices.Sort(groups)
	return slices.Compact(users), slices.Compact(groups)
}

// section compares what the metadata of a gate may be where no condition looks
// at it: a key that some condition of the gate looks at is text in all messages
// of the gate, else it is any bytes.
func (c *comparer) section(x Change, o, n *image.Route) {
	open := func(m image.MethodPolicy) bool { return live(&m.Request) }
	if !slices.ContainsFunc(o.Methods, open) || !slices.ContainsFunc(n.Methods, open) {
		return // on one side nothing passes
	}
	was, is := c.old.Section(o), c.new.Section(n)
	for i := range was.Fields {
		key := was.Fields[i].Name
		before, after := was.Fields[i].Type, is.Fields[i].Type
		if before == after || !c.keys[key] {
			continue // a key that one side does not have is told of all gates
		}
		x.Event, x.Change, x.NewAccess, x.Object = "bounds", Changed, after == image.Bytes, "metadata "+key
		x.Detail = "bytes that are no text do not pass any more: some policy of the gate looks at it"
		if x.NewAccess {
			x.Detail = "bytes that are no text may pass: no policy of the gate looks at it any more"
		}
		c.add(x)
	}
}
