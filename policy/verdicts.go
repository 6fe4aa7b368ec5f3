package policy

import (
	"cmp"
	"maps"
	"slices"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/system"
)

// denied is default deny.
var denied = image.Verdict{Policy: abi.NoPolicy}

// verdict decides on one of Ward's own actions, of which all is known now.
// implied is the permit that Ward or system.yaml grants it by.
func (c *compiler) verdict(action string, t tuple, implied uint32) image.Verdict {
	t.action = c.ward[action]
	permit := image.Verdict{Allow: true, Policy: implied}
	permitted := false
	for _, s := range c.own[t.action] {
		if !s.scope.principal.matches(c.uidOf(t.principal, "")) || !s.scope.resource.matches(c.uidOf(t.resource, t.object)) {
			continue
		}
		if c.residual(s, t).Op != image.True {
			continue
		}
		s.matched = true
		if s.Forbid {
			return image.Verdict{Policy: s.index}
		}
		if !permitted {
			permitted, permit.Policy = true, s.index
		}
	}
	return permit
}

// connectUser decides on users who connect: now, as far as it does not depend
// on who it is.
func (c *compiler) connectUser(r *route, out *image.Route) {
	var d image.Decision
	t := tuple{principal: user, resource: r.server, action: c.ward["connect"], iface: c.set.Interfaces[r.iface].Name}
	for _, s := range c.own[t.action] {
		if !s.scope.principal.hasUser || !s.scope.resource.matches(c.domainUID(r.server)) {
			continue
		}
		if e := all(s.scope.principal.user, c.residual(s, t)); e.Op != image.False {
			c.add(&d, s, e, nil)
		}
	}
	var may []image.Expr
	for m := range r.methods {
		for i := range r.methods[m].Request.Permit {
			e := possible(&r.methods[m].Request.Permit[i].When)
			if !slices.ContainsFunc(may, func(x image.Expr) bool { return sameAtom(x, e) }) {
				may = append(may, e)
			}
		}
	}
	if e := some(may...); e.Op != image.False && !always(d.Permit) {
		d.Permit = append(d.Permit, image.Rule{Policy: c.impliedPolicy(impliedConnect), When: e})
	}
	switch {
	case len(d.Forbid) > 0 && d.Forbid[0].When.Op == image.True:
		out.Connect = image.Verdict{Policy: d.Forbid[0].Policy}
	case len(d.Forbid) == 0 && len(d.Permit) > 0 && d.Permit[0].When.Op == image.True:
		out.Connect = image.Verdict{Allow: true, Policy: d.Permit[0].Policy}
	default:
		out.ConnectUser = d
	}
}

// sameAtom reports whether two conditions on a user are the same simple one.
func sameAtom(a, b image.Expr) bool {
	return a.Op == b.Op && a.Atom == b.Atom && len(a.Args) == 0 && len(b.Args) == 0
}

// lookup is the verdict on a client's looking up an interface at one server.
type lookup struct {
	iface   string
	verdict image.Verdict
}

// nameRoutes makes the routes to the name server: for who publishes or looks up.
func (c *compiler) nameRoutes(lookups map[int][]lookup) {
	if c.nameServer < 0 {
		return
	}
	for d := range c.domains {
		var publishes []lookup
		for _, e := range c.img.Domains[d].Exports {
			if int(e.Interface) != c.names {
				publishes = append(publishes, lookup{c.set.Interfaces[e.Interface].Name, e.Publish})
			}
		}
		if d == c.nameServer || c.isBox(d) || len(publishes)+len(lookups[d]) == 0 {
			continue
		}
		t := tuple{principal: d, resource: c.nameServer, iface: system.NamesInterface}
		out := image.Route{Client: clientOf(d), Server: clientOf(c.nameServer), Interface: uint32(c.names),
			Connect: c.verdict("connect", t, c.impliedPolicy(impliedNames)), Lookup: c.verdict("lookup", t, c.impliedPolicy(impliedNames))}
		reply := image.Decision{Permit: []image.Rule{{Policy: c.impliedPolicy(impliedReply), Audit: c.sys.AuditAllow, When: constExpr(true)}}}
		for _, m := range c.set.Interfaces[c.names].Methods {
			ls := publishes
			if m.Name == "Lookup" {
				ls = lookups[d]
			}
			p := image.MethodPolicy{Request: c.nameRules(ls)}
			if len(p.Request.Permit) > 0 {
				p.Reply = reply
			}
			out.Methods = append(out.Methods, p)
		}
		c.img.Routes = append(c.img.Routes, out)
	}
}

// interfaceField is the field of a request to the name server that holds the
// name of an interface: number 1 in each.
var interfaceField = image.Operand{What: image.Scalar, Path: []uint32{1}}

// nameRules makes the rules by which the kernel holds a domain to the names
// that it may publish or look up: for each policy that decided, its names. A
// name that one server may be looked up by is not forbidden by another's.
func (c *compiler) nameRules(ls []lookup) image.Decision {
	names := map[image.Verdict][]image.Value{}
	allowed := map[string]bool{}
	for _, l := range ls {
		allowed[l.iface] = allowed[l.iface] || l.verdict.Allow
	}
	for _, l := range ls {
		if l.verdict.Allow || !allowed[l.iface] && l.verdict.Policy != abi.NoPolicy {
			names[l.verdict] = append(names[l.verdict], image.Value{IsString: true, String: l.iface})
		}
	}
	byPolicy := func(a, b image.Verdict) int { return cmp.Compare(a.Policy, b.Policy) }
	var d image.Decision
	for _, v := range slices.SortedFunc(maps.Keys(names), byPolicy) {
		r := image.Rule{Policy: v.Policy, When: oneOf(interfaceField, names[v])}
		if v.Allow {
			r.Audit = c.sys.AuditAllow || int(v.Policy) < len(c.sources) && c.sources[v.Policy].audit
			d.Permit = append(d.Permit, r)
		} else {
			d.Forbid = append(d.Forbid, r)
		}
	}
	return d
}

// deniedGrant warns of a grant of system.yaml that a forbid takes away.
func (c *compiler) deniedGrant(at diag.Pos, what string, v image.Verdict) {
	c.findings.Warnf(at, "remove the grant, or narrow the forbid", "%s is granted here, but forbidden by %s", what, quote(c.img.Policies[v.Policy].ID))
}
