package policy

import (
	"ward/image"
)

// operators decides on users who change the running system: who reloads it, and
// who sets a state by hand to which value. A permit counts only if its scope
// names the action: one for all actions is meant for the system's own work, and
// who reloads a system is as good as root in it. Forbids always count.
func (c *compiler) operators() {
	c.img.Reload = c.operator(tuple{action: c.ward["reload"]})
	for i := range c.img.States {
		s := &c.img.States[i]
		set, some := make([]image.Decision, len(s.Values)), false
		for v, name := range s.Values {
			set[v] = c.operator(tuple{action: c.ward["set"], state: s.Name, value: name})
			some = some || len(set[v].Permit) > 0
		}
		if some {
			s.Set = set
		}
	}
}

func (c *compiler) operator(t tuple) (d image.Decision) {
	t.principal, t.resource = user, theSystem
	for _, s := range c.own[t.action] {
		if !s.scope.principal.hasUser || !s.scope.resource.matches(c.uidOf(theSystem, "")) || s.scope.all && !s.Forbid {
			continue
		}
		if e := all(s.scope.principal.user, c.residual(s, t)); e.Op != image.False {
			c.add(&d, s, e, nil)
		}
	}
	if always(d.Forbid) {
		d.Permit = nil // who is told no is told why
	}
	return d
}
