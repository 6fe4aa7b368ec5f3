package monitor

import (
	"ward/abi"
)

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
}

// routeOf returns the loaded route of a request, or nil.
func (m *Monitor) routeOf(o *opening, route uint32) Route {
	if o.user != nil {
		return o.user.route
	}
	return m.loaded[route]
}

// awaitRoute lets o wait for its route, which is loaded for the first who asks.
//
// Preconditions: m.mu is held; the route is not loaded.
func (m *Monitor) awaitRoute(o *opening, s *domain, route uint32) {
	if o.client != nil {
		if o.client.pending >= maxPending {
			m.tooMany(o, s.id)
			return
		}
		o.client.pending++
	}
	key := loadKey{route, o.user}
	if l := m.loads[key]; l != nil {
		l.waiting = append(l.waiting, o)
		return
	}
	m.loads[key] = &loading{s, []*opening{o}}
	s.loads++
	var client Endpoint
	if o.user != nil {
		o.user.loads++
		client = o.user.endpoint
	} else {
		o.client.loads++
		client = o.client.endpoint
	}
	atoms := NoAtoms
	if o.user != nil {
		atoms = o.user.atoms
	}
	go m.load(key, o, atoms, client, s.endpoint)
}

// load loads a route for o and all who wait for the same by then. One at a
// time is loaded, so that the starts of domains come in between.
func (m *Monitor) load(key loadKey, o *opening, atoms Atoms, client, server Endpoint) {
	m.loader.Lock()
	r, err := m.Fabric.Load(key.route, atoms, client, server)
	m.loader.Unlock()

	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.loads[key]
	delete(m.loads, key)
	l.server.loads--
	gone := l.server.state == stateEnded
	if o.user != nil {
		o.user.loads--
		gone = gone || o.user.gone
	} else {
		o.client.loads--
		gone = gone || o.client.state == stateEnded
	}
	switch {
	case err != nil:
		m.notice(l.server.id, "cannot load the policy for its gates: %v", err)
	case gone:
		r.Close()
	case o.user != nil:
		o.user.route = r
	default:
		m.loaded[key.route] = r
	}
	for _, w := range l.waiting {
		if w.client != nil {
			w.client.pending--
		}
		if err != nil && w.waits() {
			m.deny(w, l.server.id, abi.ReasonQuota, abi.NoPolicy, "the gate could not be made; the audit log says why")
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
