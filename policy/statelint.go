package policy

import (
	"ward/diag"
	"ward/image"
)

// lintState warns of state that is legal but hardly meant.
func (c *compiler) lintState() {
	all := c.stateful()
	c.requestTransitions()
	c.logins()
	read := make([]bool, len(c.img.States))
	entered := make([]map[uint32]bool, len(c.img.States))
	for _, j := range all {
		for _, i := range j.reads {
			read[c.img.Cells[i].State] = true
		}
		for _, r := range j.Permit {
			for _, e := range r.Enter {
				s := c.img.Cells[e.Cell].State
				if entered[s] == nil {
					entered[s] = map[uint32]bool{}
				}
				entered[s][e.Value] = true
			}
		}
	}
	for i := range c.sys.States {
		s := &c.sys.States[i]
		if s.Model {
			continue
		}
		if !read[i] {
			c.findings.Warnf(s.Name.Pos, "decide on it in a policy, or leave it out", "state %s is never read", s.Name.Value)
			c.findings.Tag("state-unread", s.Name.Value)
			continue
		}
		for v, name := range s.Values {
			if v != s.Initial && !entered[i][uint32(v)] {
				c.findings.Warnf(name.Pos, "enter it with @enter, or leave it out", "no message enters %s=%s", s.Name.Value, name.Value)
				c.findings.Tag("state-unentered", s.Name.Value+"="+name.Value)
			}
		}
	}
}

// requestTransitions warns of state that changes when a request is admitted:
// what the server is asked for has not been done, nor checked.
func (c *compiler) requestTransitions() {
	for _, s := range c.sources {
		if len(s.effects.enter) == 0 || s.isModel() || !s.matched {
			continue
		}
		for _, a := range s.scope.actions {
			if a.kind != callAction {
				continue
			}
			c.findings.Warnf(s.effects.enterAt, "enter it on "+string(a.uid.Type)+"::"+quote(string(a.uid.ID)+".reply")+", unless it takes rights away",
				"@enter on a request: the state changes before the server has looked at it; a login must change state on the reply")
			c.findings.Tag("transition-on-request", s.id)
			break
		}
	}
}

// logins warns of a state of domains that a reply of one server enters, and
// that lets the client do something at another.
func (c *compiler) logins() {
	type at struct {
		policy uint32
		server string
	}
	set := map[uint32]at{} // by cell
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		for m := range r.Methods {
			for _, p := range r.Methods[m].Reply.Permit {
				for _, e := range p.Enter {
					if cell := &c.img.Cells[e.Cell]; c.img.States[cell.State].Per == image.PerDomain && cell.Domain == r.Client {
						set[e.Cell] = at{p.Policy, c.domains[r.Server].Name.Value}
					}
				}
			}
		}
	}
	if len(set) == 0 {
		return
	}
	warned := map[diag.Pos]bool{}
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		other := c.domains[r.Server].Name.Value
		for m := range r.Methods {
			reads := map[uint32]bool{}
			for _, p := range r.Methods[m].Request.Permit {
				cellsIn(&p.When, reads)
			}
			for _, cell := range sortedKeys(reads) {
				l, ok := set[cell]
				if !ok || l.server == other {
					continue
				}
				s := c.sources[l.policy]
				if warned[s.effects.enterAt] || s.isModel() {
					continue
				}
				warned[s.effects.enterAt] = true
				name := c.img.States[c.img.Cells[cell].State].Name
				c.findings.Warnf(s.effects.enterAt, "declare "+name+" per: gate, if it is a login",
					"what a reply of %s enters here, %s decides on, too: %s is a state of the whole domain, authenticated at one server is not authenticated at another", l.server, other, name)
				c.findings.Tag("login-per-domain", s.id)
			}
		}
	}
}
