package monitor

import (
	"fmt"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// chained are the routes that are loaded for what o asks by, if it is a child
// that asks or a delegation by which it does; nil for all others.
func (o *opening) chained() map[uint32]Route {
	switch {
	case o.lent != nil:
		return o.lent.routes
	case o.client != nil && o.client.kin != nil:
		return o.client.kin.routes
	}
	return nil
}

func (o *opening) loadKey(route uint32) loadKey {
	k := loadKey{route: route, user: o.user, lent: o.lent}
	if o.lent == nil && o.client != nil && o.client.kin != nil {
		k.child = o.client
	}
	return k
}

// levels are the policies that what o asks for is held to.
func (o *opening) levels() []level {
	if o.lent != nil {
		return o.lent.from.levelsOf()
	}
	return o.client.levelsOf()
}

// routeTo finds the route for o to a server: of a child that of its template.
func (m *Monitor) routeTo(o *opening, s *domain) (uint32, bool) {
	if o.chained() == nil {
		i, ok := m.routes[routeKey{o.id(), s.id, o.iface}]
		return i, ok
	}
	i, ok := m.routes[routeKey{o.levels()[0].policy, s.id, o.iface}]
	if ok {
		_, ok = m.chainFor(m.Image, o, i)
	}
	return i, ok
}

// chainFor is what a gate for o on a route is held to.
func (m *Monitor) chainFor(img *image.Image, o *opening, route uint32) (image.Chain, bool) {
	if o.lent != nil {
		return m.chainOf(img, o.lent, route)
	}
	return m.chain(img, o.client, o.client.kin.levels, route)
}

// routesOver are the routes whose policies decide for o.
func (m *Monitor) routesOver(o *opening, route uint32) []uint32 {
	if o.chained() == nil {
		return []uint32{route}
	}
	c, _ := m.chainFor(m.Image, o, route)
	var routes []uint32
	for _, l := range c.Levels {
		routes = append(routes, l.Route)
	}
	return routes
}

// identifyChain tells the audit writer by which policies a gate is judged.
func (o *opening) identifyChain(e *event.Event) {
	if o.lent != nil {
		e.List = encodeLevels(o.levels(), []image.Entry{o.lent.entry})
		e.Text = fmt.Sprintf("in the name of %s, by delegation %d", o.lent.from.def.Name, o.lent.id)
	} else if o.client != nil && o.client.kin != nil {
		e.List = encodeLevels(o.levels(), o.client.kin.rights)
	}
}

// closeChained unloads the routes of a child that has ended, and those of
// children and delegations to a process that served them and has. A delegation
// ends then: its uses are counted where its routes are.
//
// Preconditions: m.mu is held; d has no gate.
func (m *Monitor) closeChained(d *domain) {
	if d.kin != nil {
		for i, r := range d.kin.routes {
			m.closeRoute(r)
			delete(d.kin.routes, i)
		}
		return
	}
	m.endServed(d)
	for _, o := range m.borrowers() {
		for i, r := range o.chained() {
			if m.servers[r] == d {
				m.closeRoute(r)
				delete(o.chained(), i)
			}
		}
	}
}

// unchain makes children ask the process that comes after d for their gates: the
// routes to d go on for those that are open. Delegations that d served end.
//
// Preconditions: m.mu is held.
func (m *Monitor) unchain(d *domain) {
	m.endServed(d)
	for _, c := range m.children {
		for i, r := range c.kin.routes {
			if m.servers[r] == d {
				m.keepChained(&opening{client: c}, i, r, d, true)
				m.stale = append(m.stale, r)
				delete(c.kin.routes, i)
			}
		}
	}
}

// endServed ends the delegations of which d served something. That they end is kept
// first: who takes over in between must not begin to count their uses anew.
//
// Preconditions: m.mu is held.
func (m *Monitor) endServed(d *domain) {
	for id, l := range m.lent {
		for _, r := range l.routes {
			if m.servers[r] == d && l.why == "" {
				why := d.def.Name + ", which served it, has ended"
				m.keepLent(l, why)
				m.work.run(func() { m.endLent(id, why) })
			}
		}
	}
}

// peer is who the server sees at a gate by the delegation: the lender. The
// process is that of who really asks.
func (l *delegation) peer() abi.Peer {
	p := l.from.peer()
	p.PID = uint32(l.to.process.PID)
	return p
}

// borrowers are requests as all children and delegations would make them, by
// which their routes are found.
func (m *Monitor) borrowers() []*opening {
	var all []*opening
	for _, k := range m.family.All() {
		if d := m.children[k.ID]; d != nil {
			all = append(all, &opening{client: d})
		}
	}
	for _, l := range m.lent {
		all = append(all, &opening{client: l.to, lent: l})
	}
	return all
}

// tellChained tells a new audit writer by which policies a gate is judged.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellChained(g *gate) {
	o := &opening{client: g.client, lent: m.lentOf(g)}
	e := gateEvent(g.client.id, g.server.id, m.Image.Routes[g.route].Interface)
	e.Kind, e.Allow, e.Gate = event.Known, true, g.Index()
	o.identifyChain(&e)
	m.Audit.Event(e)
}
