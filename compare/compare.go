package compare

import (
	"cmp"
	"maps"
	"slices"

	"ward/abi"
	"ward/image"
)

// What a change does to who may do what.
const (
	Allowed = "allow"   // denied before, allowed now
	Denied  = "deny"    // allowed before, denied now
	Open    = "open"    // new access could not be excluded
	Changed = "changed" // neither allows nor denies by itself
)

// Users is how users outside Ward are written.
const Users = "user:*"

// A Change is one line of a report.
type Change struct {
	Event     string            `json:"event"`  // start publish lookup connect call reply file address bounds setting state reload set spawn adopt grant create open.read open.write
	Change    string            `json:"change"` // allow deny open changed
	NewAccess bool              `json:"new_access"`
	From      string            `json:"from,omitempty"` // domain, or user:*; of a reply the server
	To        string            `json:"to,omitempty"`
	Interface string            `json:"interface,omitempty"`
	Method    string            `json:"method,omitempty"` // pkg.Service/Method
	Object    string            `json:"object,omitempty"` // a path, an address, message.field, an object
	Args      map[string]any    `json:"args,omitempty"`   // what is left out may have any value; null: absent
	User      string            `json:"user,omitempty"`   // for users outside: who
	Groups    []string          `json:"groups,omitempty"`
	State     map[string]string `json:"state,omitempty"` // under which it flips: gate.NAME, DOMAIN.NAME, system.NAME
	Old       *Side             `json:"old,omitempty"`
	New       *Side             `json:"new,omitempty"`
	Detail    string            `json:"detail,omitempty"`
}

// A Side is a verdict in one of the images.
type Side struct {
	Verdict string `json:"verdict"`          // allow or deny
	Policy  string `json:"policy,omitempty"` // none: default deny
	Source  string `json:"source,omitempty"` // file:line
}

// A Report is the difference of two images.
type Report struct {
	Changes []Change
	Equal   int // decisions of a method and direction that are the same after normalisation
	Proved  int // decisions that are written differently and proved to decide the same
}

// NewAccess counts the changes that allow something new, or may.
func (r *Report) NewAccess() int {
	n := 0
	for i := range r.Changes {
		if r.Changes[i].NewAccess {
			n++
		}
	}
	return n
}

// Images compares two images.
//
// Preconditions: both pass image.Check.
func Images(before, after *image.Image) *Report {
	c := &comparer{old: newIndex(before), new: newIndex(after), report: new(Report), seen: map[[2]string]bool{}, budget: allSearches}
	c.settings()
	c.sameKeys()
	c.states()
	c.operators()
	c.kin()
	c.objects()
	for _, name := range union(c.old.domains, c.new.domains) {
		c.domain(name)
	}
	keys := slices.Collect(maps.Keys(c.old.routes))
	for k := range c.new.routes {
		if c.old.routes[k] == nil {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b routeKey) int {
		return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.server, b.server), cmp.Compare(a.iface, b.iface))
	})
	for _, k := range keys {
		c.route(k)
	}
	return c.report
}

type routeKey struct{ client, server, iface string }

// An index finds the parts of an image by name.
type index struct {
	*image.Image
	domains map[string]*image.Domain
	ifaces  map[string]*image.Interface
	routes  map[routeKey]*image.Route
}

func newIndex(img *image.Image) *index {
	x := &index{img, map[string]*image.Domain{}, map[string]*image.Interface{}, map[routeKey]*image.Route{}}
	for i := range img.Domains {
		x.domains[img.Domains[i].Name] = &img.Domains[i]
	}
	for i := range img.Interfaces {
		x.ifaces[img.Interfaces[i].Name] = &img.Interfaces[i]
	}
	for i := range img.Routes {
		r := &img.Routes[i]
		client := Users
		if r.Client != abi.NoDomain {
			client = img.Domains[r.Client].Name
		}
		x.routes[routeKey{client, img.Domains[r.Server].Name, img.Interfaces[r.Interface].Name}] = r
	}
	return x
}

// side spells a verdict.
func (x *index) side(v image.Verdict) *Side {
	s := &Side{Verdict: "deny"}
	if v.Allow {
		s.Verdict = "allow"
	}
	if v.Policy != abi.NoPolicy && int(v.Policy) < len(x.Policies) {
		s.Policy, s.Source = x.Policies[v.Policy].ID, x.Policies[v.Policy].Source
	}
	return s
}

type comparer struct {
	old, new *index
	report   *Report
	seen     map[[2]string]bool // pairs of messages whose bounds are compared
	keys     map[string]bool    // of metadata, that both sides declare
	budget   int                // of all searches, in evaluated nodes
}

func (c *comparer) add(x Change) {
	x.NewAccess = x.NewAccess || x.Change == Allowed || x.Change == Open
	c.report.Changes = append(c.report.Changes, x)
}

// verdict adds a flip of a verdict, if it is one.
func (c *comparer) verdict(before, after image.Verdict, x Change) {
	if before.Allow == after.Allow {
		return
	}
	x.Change, x.Old, x.New = Denied, c.old.side(before), c.new.side(after)
	if after.Allow {
		x.Change = Allowed
	}
	c.add(x)
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

var denied = image.Verdict{Policy: abi.NoPolicy}

// route compares what may pass on one route.
func (c *comparer) route(k routeKey) {
	before, after := c.old.routes[k], c.new.routes[k]
	var none image.Route
	none.Connect, none.Lookup = denied, denied
	o, n := cmp.Or(before, &none), cmp.Or(after, &none)
	x := Change{From: k.client, To: k.server, Interface: k.iface}
	if before != nil && after != nil {
		c.section(x, before, after)
	}
	if k.client == Users {
		x.Event = "connect"
		c.decisions(pair{side{c.old, connecting(o), nil}, side{c.new, connecting(n), nil}}, x)
	} else {
		x.Event = "lookup"
		c.verdict(o.Lookup, n.Lookup, x)
		x.Event = "connect"
		c.verdict(o.Connect, n.Connect, x)
	}
	oi, ni := c.old.ifaces[k.iface], c.new.ifaces[k.iface]
	for _, name := range union(methodsOf(oi), methodsOf(ni)) {
		om, nm := methodsOf(oi)[name], methodsOf(ni)[name]
		x := Change{From: k.client, To: k.server, Method: k.iface + "/" + name}
		var request, reply pair
		request.old, reply.old = c.old.sides(before, om)
		request.new, reply.new = c.new.sides(after, nm)
		x.Event = "call"
		c.silence(request, x)
		c.decisions(request, x)
		x.Event, x.From, x.To = "reply", k.server, k.client
		c.silence(reply, x)
		told := len(c.report.Changes)
		c.decisions(reply, x)
		c.errors(request, reply, x, c.report.Changes[told:])
		if live(request.old.decision) && live(request.new.decision) {
			c.streaming(x, om.Method, nm.Method)
			c.bounds(c.old.Messages[om.Request].Name, om.Request, nm.Request, x.Method)
			if live(reply.old.decision) && live(reply.new.decision) {
				c.bounds(c.old.Messages[om.Reply].Name, om.Reply, nm.Reply, x.Method)
			}
		}
	}
}

// connecting is the decision on users who connect.
func connecting(r *image.Route) *image.Decision {
	if d := &r.ConnectUser; len(d.Permit)+len(d.Forbid) > 0 || !r.Connect.Allow {
		return d
	}
	return &image.Decision{Permit: []image.Rule{{Policy: r.Connect.Policy, When: image.Expr{Op: image.True}}}}
}

// A method is a method with its ordinal.
type method struct {
	*image.Method
	ordinal int
}

func methodsOf(i *image.Interface) map[string]method {
	all := map[string]method{}
	if i != nil {
		for m := range i.Methods {
			all[i.Methods[m].Name] = method{&i.Methods[m], m}
		}
	}
	return all
}

// sides are the decisions of an image on the requests and replies of a method
// that it may not have, on a route that it may not have.
func (x *index) sides(r *image.Route, m method) (request, reply side) {
	request, reply = side{index: x, decision: new(image.Decision)}, side{index: x, decision: new(image.Decision)}
	if m.Method == nil {
		return request, reply
	}
	request.message, reply.message = &x.Messages[m.Request], &x.Messages[m.Reply]
	if r != nil {
		request.decision, reply.decision = &r.Methods[m.ordinal].Request, &r.Methods[m.ordinal].Reply
	}
	return request, reply
}

// live reports whether a decision has a permit.
func live(d *image.Decision) bool { return len(d.Permit) > 0 }
