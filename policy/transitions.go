package policy

import "ward/image"

// Transitions of models: a permit of the standard library with @enter admits
// nothing. It says what changes when some other policy admits the message: in
// the image there is one more rule, which asks for its own condition and for
// that of some permit, and enters. Since every satisfied permit has its
// effects, that rule has its own exactly when the message is admitted anyway.

// isTransition reports whether a policy only changes state.
func (s *source) isTransition() bool { return s.isModel() && !s.Forbid && s.effects.any() }

// transitions adds the transitions of models to all decisions.
//
// Preconditions: the permits of all decisions are complete.
func (c *compiler) transitions() {
	for _, s := range c.sources {
		if !s.isTransition() {
			continue
		}
		for _, a := range s.scope.actions {
			if a.kind == wardOwn {
				continue
			}
			for _, r := range c.byIface[a.iface] {
				if r.client == user { // a user has no state
					continue
				}
				m := &r.methods[a.method]
				if a.kind == callAction {
					c.transition(&m.Request, s, a, r.client, r.server)
				} else {
					c.transition(&m.Reply, s, a, r.server, r.client)
				}
			}
		}
	}
}

func (c *compiler) transition(d *image.Decision, s *source, a *action, principal, resource int) {
	if !s.scope.principal.matches(c.domainUID(principal)) || !s.scope.resource.matches(c.domainUID(resource)) {
		return
	}
	e := c.residual(s, tuple{principal: principal, resource: resource, action: a})
	enter, ok := c.enters(s, principal, resource)
	if e.Op == image.False || !ok {
		return
	}
	var admits []image.Expr
	audit := false
	for _, p := range d.Permit {
		if !c.isTransition(p.Policy) {
			admits, audit = append(admits, p.When), audit || p.Audit
		}
	}
	if len(admits) == 0 {
		return
	}
	d.Permit = append(d.Permit, image.Rule{Policy: s.index, Audit: audit, When: all(some(admits...), e), Enter: enter})
	n := 0
	for i := range d.Permit {
		if len(d.Permit[i].Enter) > 0 || (d.Permit[i].Rate != image.Rate{}) {
			n++
		}
	}
	if n > image.MaxEffects {
		c.once(s, s.Pos, "let fewer permits admit one method, or use fewer levels of integrity",
			"%s: %d permits and transitions with effects for one message of %s: the limit is %d", s.id, n, string(a.uid.Type)+"::"+quote(string(a.uid.ID)), image.MaxEffects)
	}
}

// isTransition reports whether a policy of the image is a transition.
func (c *compiler) isTransition(policy uint32) bool {
	return int(policy) < len(c.sources) && c.sources[policy].isTransition()
}
