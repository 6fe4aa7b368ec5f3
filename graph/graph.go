package graph

import (
	"cmp"
	"slices"

	"ward/abi"
	"ward/image"
)

// A Graph is what may happen in a system.
type Graph struct {
	System  string
	Rings   []Ring // most trusted first
	Users   bool   // some user outside Ward may reach some domain
	Gates   []Gate
	Loans   []Loan
	Objects []Object
	Uses    []Use
}

// A Ring is a cluster of domains.
type Ring struct {
	Level   int32
	Name    string
	Domains []string // in the order of the image
}

// A Gate is an edge: what a client may call at a server over one interface.
// The methods that hold for every message and those that depend on it are two.
type Gate struct {
	From        string // "" for users outside
	To          string // a domain, or a mailbox among the objects
	Interface   string
	Conditional bool
	Methods     []Method
}

// A Method is an entry point with the policies that decide on it.
type Method struct {
	Name    string
	Permits []Policy
	Unless  []Policy // forbids
	NoReply bool     // no answer can pass
}

// A Policy is a policy's ID and place.
type Policy struct {
	ID     string `json:"id"`
	Source string `json:"source"` // file:line
}

// An Object is a file, an address, or an object of system.yaml.
type Object struct {
	Kind string // "file", "address", "memory" or "mailbox"
	Name string
	Note string // what people would not see by its name
}

// A Use is an edge from a domain to an object.
type Use struct {
	From   string
	Object int    // index into Graph.Objects
	Access string // r, w, x and "as root"; or "listen", "connect"; or "create", "read", "write"
	Policy Policy // for files and objects of system.yaml
}

// Of draws an image. With names the name server and the gates to it are drawn
// too: the rights to publish and to look up.
//
// Preconditions: img.Check() == nil.
func Of(img *image.Image, names bool) *Graph {
	b := builder{img: img, names: names, g: &Graph{System: img.Name}, objects: map[Object]int{}, calls: map[call]bool{}}
	for i := range img.Domains {
		if d := &img.Domains[i]; b.drawn(d) {
			b.domain(d)
		}
	}
	slices.SortStableFunc(b.g.Rings, func(a, c Ring) int { return cmp.Or(cmp.Compare(a.Level, c.Level), cmp.Compare(a.Name, c.Name)) })
	for i := range img.Objects {
		b.declared(&img.Objects[i])
	}
	for i := range img.Routes {
		b.route(&img.Routes[i])
	}
	b.loans()
	return b.g
}

type builder struct {
	img     *image.Image
	names   bool
	g       *Graph
	objects map[Object]int
	calls   map[call]bool // what may be called, and so lent
}

// drawn reports whether a domain may run at all.
func (b *builder) drawn(d *image.Domain) bool { return d.Start.Allow && (b.names || !d.Names) }

func (b *builder) policy(i uint32) Policy {
	p := b.img.Policies[i]
	return Policy{p.ID, p.Source}
}

func (b *builder) domain(d *image.Domain) {
	at := slices.IndexFunc(b.g.Rings, func(r Ring) bool { return r.Level == d.Ring.Level && r.Name == d.Ring.Name })
	if at < 0 {
		at = len(b.g.Rings)
		b.g.Rings = append(b.g.Rings, Ring{Level: d.Ring.Level, Name: d.Ring.Name})
	}
	b.g.Rings[at].Domains = append(b.g.Rings[at].Domains, d.Name)
	for _, f := range d.Files {
		if f.Verdict.Allow {
			b.g.Uses = append(b.g.Uses, Use{d.Name, b.object("file", f.Path), access(f), b.policy(f.Verdict.Policy)})
		}
	}
	for _, l := range d.Listen {
		b.g.Uses = append(b.g.Uses, Use{From: d.Name, Object: b.object("address", l.Address), Access: "listen"})
	}
	for _, a := range d.Connect {
		b.g.Uses = append(b.g.Uses, Use{From: d.Name, Object: b.object("address", a), Access: "connect"})
	}
}

func (b *builder) object(kind, name string) int {
	return b.add(Object{Kind: kind, Name: name})
}

func (b *builder) add(o Object) int {
	i, ok := b.objects[o]
	if !ok {
		i = len(b.g.Objects)
		b.objects[o] = i
		b.g.Objects = append(b.g.Objects, o)
	}
	return i
}

// access spells access as system.yaml does.
func access(f image.File) string {
	var s string
	for i, letter := range "rwx" {
		if f.Access&(1<<i) != 0 {
			s += string(letter)
		}
	}
	if f.AsRoot {
		s += " as root"
	}
	return s
}

// route adds the edges of a route on which something can pass.
func (b *builder) route(r *image.Route) {
	server := &b.img.Domains[r.Server]
	published := b.drawn(server) && slices.ContainsFunc(server.Exports, func(e image.Export) bool { return e.Interface == r.Interface && e.Publish.Allow })
	if !published && !server.Mailbox {
		return
	}
	from := ""
	if r.Client != abi.NoDomain {
		if from = b.img.Domains[r.Client].Name; !b.drawn(&b.img.Domains[r.Client]) {
			return
		}
	}
	may, always := opening(r)
	if !may {
		return
	}
	iface := &b.img.Interfaces[r.Interface]
	var groups [2][]Method // unconditional, conditional
	for i := range r.Methods {
		p := &r.Methods[i]
		if !canPass(&p.Request) {
			continue
		}
		b.calls[call{r.Client, image.Entry{Interface: r.Interface, Method: uint32(i)}}] = true
		m := Method{Name: iface.Methods[i].Name, NoReply: !canPass(&p.Reply) && !server.Mailbox} // nobody waits for an answer of a mailbox
		m.Permits, m.Unless = b.policies(p.Request.Permit), b.policies(p.Request.Forbid)
		kind := 1
		if always && alwaysPasses(&p.Request) && (m.NoReply || server.Mailbox || alwaysPasses(&p.Reply)) {
			kind = 0
		}
		groups[kind] = append(groups[kind], m)
	}
	for kind, methods := range groups {
		if len(methods) > 0 {
			b.g.Users = b.g.Users || from == ""
			if server.Mailbox {
				b.add(mailbox(server.Name))
			}
			b.g.Gates = append(b.g.Gates, Gate{from, server.Name, iface.Name, kind == 1, methods})
		}
	}
}

func (b *builder) policies(rules []image.Rule) []Policy {
	var all []Policy
	for i := range rules {
		if rules[i].When.Op != image.False {
			all = append(all, b.policy(rules[i].Policy))
		}
	}
	return all
}

// opening reports whether the gate of a route can be opened by somebody, and
// whether by every client of the route.
func opening(r *image.Route) (may, always bool) {
	if d := &r.ConnectUser; len(d.Permit)+len(d.Forbid) > 0 {
		return canPass(d), alwaysPasses(d)
	}
	return r.Connect.Allow, r.Connect.Allow
}

func has(rules []image.Rule, ok func(image.Op) bool) bool {
	return slices.ContainsFunc(rules, func(r image.Rule) bool { return ok(r.When.Op) })
}

// canPass reports whether a decision may admit something.
func canPass(d *image.Decision) bool {
	return !has(d.Forbid, func(op image.Op) bool { return op == image.True }) &&
		has(d.Permit, func(op image.Op) bool { return op != image.False })
}

// alwaysPasses reports whether a decision admits whatever is within bounds.
func alwaysPasses(d *image.Decision) bool {
	return !has(d.Forbid, func(op image.Op) bool { return op != image.False }) &&
		has(d.Permit, func(op image.Op) bool { return op == image.True })
}
