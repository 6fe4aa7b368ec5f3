package policy

import (
	"cmp"
	"slices"

	"ward/image"
	"ward/system"
)

type routeKey struct{ client, server, iface int }

// route is a route in the making.
type route struct {
	routeKey
	methods []image.MethodPolicy
	replies []bool // by method: a policy of the user's permits the reply
}

// clients are the domains and the user that the principal or resource of a
// scope covers. A name server that Ward adds calls nobody, whatever a policy
// for all domains says, nor does a mailbox.
func (c *compiler) clients(sub *subject) []int {
	var res []int
	for i := range c.domains {
		if !c.isBox(i) && sub.matches(c.domainUID(i)) && !c.domains[i].Implicit {
			res = append(res, i)
		}
	}
	if sub.hasUser {
		res = append(res, user)
	}
	return res
}

// calls adds the rules that permits, or forbids, make for requests. Only
// permits make routes.
func (c *compiler) calls(forbid bool) {
	for _, s := range c.sources {
		if s.Forbid != forbid || s.isTransition() {
			continue
		}
		principals, resource := c.clients(&s.scope.principal), &s.scope.resource
		serves := make([]bool, len(c.domains))
		for i := range c.domains {
			serves[i] = resource.matches(c.domainUID(i))
		}
		for _, a := range s.scope.actions {
			if a.kind != callAction {
				continue
			}
			for _, server := range c.servers[a.iface] {
				if !serves[server] {
					continue
				}
				for _, client := range principals {
					c.call(s, a, client, server)
				}
			}
		}
	}
}

// call adds the rule of one policy for one method of one route.
func (c *compiler) call(s *source, a *action, client, server int) {
	if client != user && c.plain[client] == server || client == user && !c.exportsSocket(server, a.iface) {
		return // a domain needs no gate to itself, in whatever ring
	}
	key := routeKey{client, server, a.iface}
	r := c.routes[key]
	if r == nil && s.Forbid {
		return
	}
	e := c.residual(s, tuple{principal: client, resource: server, action: a})
	if client == user {
		e = all(s.scope.principal.user, e)
	}
	if e.Op == image.False {
		return
	}
	if r == nil {
		n := len(c.set.Interfaces[a.iface].Methods)
		r = &route{routeKey: key, methods: make([]image.MethodPolicy, n), replies: make([]bool, n)}
		c.routes[key] = r
		c.byIface[a.iface] = append(c.byIface[a.iface], r)
	}
	s, e = c.spared(s, a, client, server, e)
	c.addMessage(&r.methods[a.method].Request, s, e, client, server)
}

// add adds the rule of a policy to a decision. Nothing is added after a rule
// that always decides, but for permits with effects.
func (c *compiler) add(d *image.Decision, s *source, e image.Expr, enter []image.Enter) {
	rules := &d.Permit
	if s.Forbid {
		rules = &d.Forbid
	}
	s.matched = true
	if n := len(*rules); n > 0 && !c.whole && (*rules)[n-1].When.Op == image.True && !s.effects.any() {
		return
	}
	*rules = append(*rules, image.Rule{Policy: s.index, Audit: !s.Forbid && (s.audit || c.sys.AuditAllow), When: e, Enter: enter, Rate: s.effects.rate})
	if err := d.Fits(); err != nil && !s.broken {
		s.broken = true
		c.findings.Errorf(s.Pos, "decide on fewer parameters, or state bounds in the interface", "%v", err)
	}
}

// exportsSocket reports whether users can reach an interface of a domain.
func (c *compiler) exportsSocket(server, iface int) bool {
	for _, e := range c.domains[server].Exports {
		if e.Interface.Value == c.set.Interfaces[iface].Name {
			return e.Socket.Value != ""
		}
	}
	return false
}

// prune removes permits that a forbid always overrides, and routes on which
// nothing can pass.
func (c *compiler) prune() {
	if c.whole {
		return
	}
	for i, routes := range c.byIface {
		c.byIface[i] = slices.DeleteFunc(routes, func(r *route) bool {
			open := false
			for m := range r.methods {
				d := &r.methods[m].Request
				if always(d.Forbid) {
					d.Permit = nil
				}
				open = open || len(d.Permit) > 0
			}
			if !open {
				delete(c.routes, r.routeKey)
			}
			return !open
		})
	}
}

// always reports whether some rule holds for every message.
func always(rules []image.Rule) bool {
	return slices.ContainsFunc(rules, func(r image.Rule) bool { return r.When.Op == image.True })
}

// replies adds the rules for replies to the routes. What the user's policies
// do not say about a reply is implied: an answer to an admitted call may come.
func (c *compiler) replies() {
	for _, s := range c.sources {
		if s.isTransition() {
			continue
		}
		for _, a := range s.scope.actions {
			if a.kind != replyAction {
				continue
			}
			for _, r := range c.byIface[a.iface] {
				c.reply(s, a, r)
			}
		}
	}
	for iface, routes := range c.byIface {
		for _, r := range routes {
			for m := range r.methods {
				p := &r.methods[m]
				if len(p.Request.Permit) > 0 && !r.replies[m] && !always(p.Reply.Permit) && !c.isBox(r.server) {
					p.Reply.Permit = append(p.Reply.Permit, image.Rule{Policy: c.impliedPolicy(impliedReply), Audit: c.sys.AuditAllow, When: constExpr(true)})
				}
				if always(p.Reply.Forbid) {
					p.Reply.Permit = nil
				}
				flow := c.flow(r.server, iface, m)
				p.Request.Silent, p.Reply.Silent = flow == system.FlowReply, flow == system.FlowCall
			}
		}
	}
}

// flow is which message of a method carries information; "": both.
func (c *compiler) flow(server, iface, method int) string {
	for i := range c.domains[server].Exports {
		e := &c.domains[server].Exports[i]
		if e.Interface.Value != c.set.Interfaces[iface].Name {
			continue
		}
		for j := range e.Methods {
			if m := &e.Methods[j]; m.Name.Value == c.set.Interfaces[iface].Methods[method].Name && m.Flow.Value != "" {
				return m.Flow.Value
			}
		}
		return e.Flow.Value
	}
	return ""
}

func (c *compiler) reply(s *source, a *action, r *route) {
	p := &r.methods[a.method]
	if len(p.Request.Permit) == 0 || c.isBox(r.server) || !s.scope.principal.matches(c.domainUID(r.server)) {
		return
	}
	if r.client != user && !s.scope.resource.matches(c.domainUID(r.client)) || r.client == user && !s.scope.resource.hasUser {
		return
	}
	e := c.residual(s, tuple{principal: r.server, resource: r.client, action: a})
	if r.client == user {
		e = all(s.scope.resource.user, e)
	}
	if e.Op == image.False {
		return
	}
	if s.scope.replies && !s.Forbid {
		r.replies[a.method] = true
	}
	c.addMessage(&p.Reply, s, e, r.server, r.client)
}

// buildRoutes makes the routes of the image: those of calls, with the verdicts
// on connecting and looking up, and those to the name server.
func (c *compiler) buildRoutes() {
	lookups := map[int][]lookup{}
	for i, routes := range c.byIface {
		for _, r := range routes {
			out := image.Route{Client: clientOf(r.client), Server: clientOf(r.server), Interface: uint32(i), Methods: r.methods,
				Connect: denied, Lookup: denied}
			name := c.set.Interfaces[i].Name
			if r.client == user {
				c.connectUser(r, &out)
			} else {
				t := tuple{principal: r.client, resource: r.server, iface: name}
				out.Connect = c.verdict("connect", t, c.impliedPolicy(impliedConnect))
				if !c.isBox(r.server) { // nobody publishes a mailbox: whoever writes to it knows it
					out.Lookup = c.verdict("lookup", t, c.impliedPolicy(impliedConnect))
					lookups[r.client] = append(lookups[r.client], lookup{name, out.Lookup})
				}
			}
			c.img.Routes = append(c.img.Routes, out)
		}
	}
	c.nameRoutes(lookups)
	slices.SortFunc(c.img.Routes, func(a, b image.Route) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Interface, b.Interface))
	})
}
