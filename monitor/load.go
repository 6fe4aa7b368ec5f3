package monitor

import (
	"errors"

	"ward/abi"
	"ward/image"
)

// ErrFull is what errors.Is finds in the error of a Fabric that has no more buckets of
// rates for children and delegations.
var ErrFull = errors.New("children and delegations have all that they may")

const noMoreRates = "no more gates: rates of children and delegations are in use, or not full again, as many as there may be; let some end, or ask again later"

// A loading is a route whose programs the kernel is verifying (some 10 ms a
// program, Linux 6.18), and the requests that wait for it. Meanwhile others
// are served: nothing waits with Monitor.mu held.
type loading struct {
	server  *domain
	waiting []*opening
}

// loadKey names what is loaded: the route between two domains, or of one user.
type loadKey struct {
	route uint32
	user  *user
	child *domain     // of a child: whose it is
	lent  *delegation // of a delegation
}

// routeOf returns the loaded route of a request, or nil.
func (m *Monitor) routeOf(o *opening, route uint32) Route {
	if o.user != nil {
		return o.user.route
	}
	if routes := o.chained(); routes != nil {
		return routes[route]
	}
	return m.loaded[route]
}

// awaitRoute lets o wait for its route, which is loaded for the first who asks.
//
// Preconditions: m.mu is held; the route is not loaded.
func (m *Monitor) awaitRoute(o *opening, s *domain, route uint32) {
	if !m.enlist(o, s.id) {
		return
	}
	key := o.loadKey(route)
	if l := m.loads[key]; l != nil {
		l.waiting = append(l.waiting, o)
		return
	}
	m.makeRoom()
	m.loads[key] = &loading{s, []*opening{o}}
	s.loads++
	client, server := Endpoint(nil), s.endpoint
	if o.user != nil {
		o.user.loads++
		client = o.user.endpoint
	} else {
		o.client.loads++
		client = o.client.endpoint
	}
	m.work.run(func() { m.load(key, o, client, server) })
}

// prepare loads the routes to a name server that is started again, on its endpoint,
// of the domains that serve something: while it starts, and before those who only look
// up ask for theirs, since until the names are published again nobody finds them.
//
// Preconditions: m.mu is held.
func (m *Monitor) prepare(names *domain, endpoint Endpoint) {
	iface, ok := m.ifaces[namesInterface]
	if !ok {
		return
	}
	for _, other := range m.domains {
		route, ok := m.routes[routeKey{other.id, names.id, iface}]
		if !ok || other.state != stateRunning || other.endpoint == nil || len(other.serving) == 0 || m.loaded[route] != nil {
			continue
		}
		o := &opening{client: other, iface: iface}
		key := o.loadKey(route)
		if m.loads[key] != nil {
			continue
		}
		m.makeRoom()
		m.loads[key] = &loading{server: names}
		names.loads++
		other.loads++
		client := other.endpoint
		m.work.run(func() { m.load(key, o, client, endpoint) })
	}
}

// load loads a route for o and all who wait for the same by then. One at a
// time is loaded, so that the starts of domains come in between, and in turns (loader.go). What was
// loaded of an image that is no longer in force by the end is loaded again, and so is what
// a change has not seen that has looked by now at what is loaded (switching.plan). What
// is loaded before the server's process is there (hasten.go) counts when it is.
func (m *Monitor) load(key loadKey, o *opening, client, server Endpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var r Route
	var err error
	begun := m.loads[key].server.early.begun
	for img, plans := (*image.Image)(nil), uint64(0); img != m.Image || plans != m.plans; {
		if r != nil {
			r.Close()
		}
		if m.work.drains() {
			err = errStopping
			break
		}
		img, plans = m.Image, m.plans
		atoms := NoAtoms
		if o.user != nil {
			atoms = o.user.atoms
		} else if o.chained() != nil {
			atoms.Chain, _ = m.chainFor(img, o, key.route)
		}
		m.mu.Unlock()
		r, err = m.loadOne(familyOf(o), img, key.route, atoms, client, server)
		if begun != nil {
			<-begun
		}
		m.mu.Lock()
	}
	l := m.loads[key]
	delete(m.loads, key)
	l.server.loads--
	gone := l.server.state == stateEnded
	if o.user != nil {
		o.user.loads--
		gone = gone || o.user.gone
	} else {
		o.client.loads--
		gone = gone || o.client.state == stateEnded || o.lent != nil && !m.lasts(o.lent)
	}
	switch {
	case err == errStopping:
	case err != nil:
		m.notice(l.server.id, "cannot load the policy for its gates: %v", err)
	case gone:
		r.Close()
	case o.user != nil:
		o.user.route, m.servers[r] = r, l.server
		m.keepRoute(r, key.route, nil, l.server, o.user, false)
	case o.chained() != nil:
		o.chained()[key.route], m.servers[r] = r, l.server
		m.takeRoom(r, o)
		m.keepChained(o, key.route, r, l.server, false)
	default:
		m.loaded[key.route] = r
		m.keepRoute(r, key.route, o.client, l.server, nil, false)
		m.hold(o.client, l.server, r)
	}
	for _, w := range l.waiting {
		if err == errStopping && w.waits() {
			m.deny(w, l.server.id, abi.ReasonNotRunning, abi.NoPolicy, err.Error())
			continue
		}
		if err != nil && w.waits() {
			text := "the gate could not be made; the audit log says why"
			if errors.Is(err, ErrFull) {
				text = noMoreRates
			}
			m.deny(w, l.server.id, abi.ReasonQuota, abi.NoPolicy, text)
			continue
		}
		m.try(w, true)
	}
	m.retire(l.server)
	if o.user != nil {
		m.retireUser(o.user)
	} else {
		m.retire(o.client)
	}
}

// loadOne loads a route, when it is the turn of a, while no other is loaded, and the
// image does not change.
func (m *Monitor) loadOne(a asker, img *image.Image, route uint32, atoms Atoms, client, server Endpoint) (Route, error) {
	m.loader.lock(a)
	defer m.loader.unlock()
	r, err := m.Fabric.Load(img, route, atoms, client, server)
	if err != nil {
		return nil, err
	}
	return r, nil
}
