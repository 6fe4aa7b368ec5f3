package monitor

import (
	"os"

	"ward/abi"
	"ward/image"
)

// Making a gate takes a millisecond, in which the kernel verifies its two stubs, and a
// grace period more if all numbers were given back of late. Nobody waits for that
// but who asked: it is done beside Monitor.mu, in three steps.
//
//  1. Reserve, with mu held. When it is the turn of a request (turns.go) it is decided
//     anew, by the image and by who serves then. What the gate will count for is counted:
//     an end of both domains, and a use of both endpoints (loads) and of the route
//     (makings.making), so that none of them is closed, whoever ends.
//  2. Work, without mu. The Fabric makes the gate. Nobody has an end of it, or knows it.
//  3. Commit, with mu held to the end: what was reserved is given back; if all is as it
//     was, the gate is kept, recorded and handed over. If another image is in force, or one of the two domains has
//     ended, or the server does not serve any more, or the delegation is over, or the
//     route is another one, the gate is closed and the request decided anew.
//
// So a gate that is handed over is one that the image in force allows at that moment. Its
// filters are those of that image, or are swapped for them by the change that is under way: every
// route that is there when a change looks at them is part of it (switching.loaded), and one
// whose loading began before that is loaded again (makings.plans).
//
// A monitor that dies in between leaves nothing: what was not kept the next one takes
// away (kernel.Fabric.Restored), and who was not answered asks again.

// makings are the requests for gates that are on their way.
type makings struct {
	turns  turns[*opening]
	makers int // goroutines that serve them
	making map[*making]struct{}
	plans  uint64 // of changes of the image: each begins a new count of what is loaded
}

// A making is a gate that is being made.
type making struct {
	o       *opening
	server  *domain
	route   uint32 // of image
	loaded  Route
	image   *image.Image // by which it was decided
	fabric  Fabric
	chained bool
}

// queue lets a request wait for its turn; the answer comes then.
//
// Preconditions: m.mu is held.
func (m *Monitor) queue(o *opening) {
	o.turn = make(chan struct{})
	if o.client != nil {
		o.client.turn = o.turn
	}
	m.turns.push(m.askerOf(o), o)
	if m.makers < makersMost {
		m.makers++
		m.work.run(m.serveTurns)
	}
}

// serveTurns serves those whose turn it is, until nobody waits who has not one.
func (m *Monitor) serveTurns() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for a, o, ok := m.turns.next(); ok; a, o, ok = m.turns.next() {
		turn := o.turn
		m.take(o)
		m.turns.done(a)
		close(turn)
		m.mu.Unlock() // others come in between
		m.mu.Lock()
	}
	m.makers--
}

// take answers a request whose turn it is, or lets it wait for something else: for its route,
// or for a server.
//
// Preconditions: m.mu is held; it is given up in between.
func (m *Monitor) take(o *opening) {
	if m.over(o) {
		return
	}
	s := m.choose(o).server
	if s == nil {
		m.request(o)
		return
	}
	i, _ := m.routeTo(o, s)
	if m.exceeds(o, s) != "" {
		m.sweep()
	}
	if why := m.exceeds(o, s); why != "" {
		m.deny(o, s.id, abi.ReasonQuota, abi.NoPolicy, "no more gates: "+why)
		return
	}
	if u := o.user; u != nil && u.route != nil && m.servers[u.route] != s { // that process has ended while it waited
		m.forgetRoute(u)
	}
	r := m.routeOf(o, i)
	if r == nil {
		if why := m.noRoom(o, i); why != "" {
			m.deny(o, s.id, abi.ReasonQuota, abi.NoPolicy, "no more gates: "+why)
			m.tellNoRoom(o.client.payer())
			return
		}
		m.awaitRoute(o, s, i)
		return
	}
	k := m.reserve(o, s, i, r)
	m.mu.Unlock()
	g, err := k.work()
	m.mu.Lock()
	m.commit(k, g, err)
}

// reserve is the first step.
//
// Preconditions: m.mu is held.
func (m *Monitor) reserve(o *opening, s *domain, route uint32, r Route) *making {
	k := &making{o: o, server: s, route: route, loaded: r, image: m.Image, fabric: m.Fabric, chained: o.chained() != nil}
	if m.making == nil {
		m.making = map[*making]struct{}{}
	}
	m.making[k] = struct{}{}
	k.count(1)
	return k
}

// count counts what the gate will have, or no longer.
func (k *making) count(n int) {
	k.server.ends += n
	k.server.loads += n
	if u := k.o.user; u != nil {
		u.loads += n
		return
	}
	k.o.client.ends += n
	k.o.client.loads += n
}

// work is the second step. It uses nothing that changes.
func (k *making) work() (*gate, error) {
	made, err := k.fabric.Open(k.loaded)
	if err != nil {
		return nil, err
	}
	g := &gate{Gate: made, route: k.route, loaded: k.loaded, client: k.o.client, server: k.server, user: k.o.user, live: [2]bool{true, true}, chained: k.chained}
	client, server := made.Ends()
	for i, f := range []*os.File{client, server} {
		if g.inodes[i], err = inode(f); err != nil {
			g.abandon()
			return nil, err
		}
	}
	if k.server.box != nil {
		if err := g.retain(server); err != nil {
			g.abandon()
			return nil, err
		}
	}
	return g, nil
}

// abandon closes a gate that nobody was told of.
func (g *gate) abandon() {
	client, server := g.Ends()
	client.Close()
	server.Close()
	g.discard()
	g.Close() // an error: its filters let nothing pass, as nobody has an end
}

// commit is the third step.
//
// Preconditions: m.mu is held.
func (m *Monitor) commit(k *making, g *gate, err error) {
	delete(m.making, k)
	k.count(-1)
	if !m.stands(k) {
		if g != nil {
			g.abandon()
		}
		m.again(k)
		return
	}
	if err == nil {
		if err = m.initialGate(g.Gate); err != nil {
			g.abandon()
		}
	}
	if err != nil {
		m.notice(k.server.id, "cannot make a gate: %v", err)
		m.deny(k.o, k.server.id, abi.ReasonQuota, abi.NoPolicy, "the gate could not be made; the audit log says why")
		return
	}
	m.admit(g)
	m.hand(k.o, g)
}

// stands reports whether all is as it was when a gate was reserved.
//
// Preconditions: m.mu is held.
func (m *Monitor) stands(k *making) bool {
	o, s := k.o, k.server
	return m.Image == k.image && o.waits() && (o.lent == nil || m.lasts(o.lent)) &&
		m.find(s.id) == s && s.serves(o.iface) && m.routeOf(o, k.route) == k.loaded
}

// again decides a request anew whose gate was made in vain.
//
// Preconditions: m.mu is held.
func (m *Monitor) again(k *making) {
	o := k.o
	if u := o.user; u != nil && u.route != nil && u.route == k.loaded { // it is of another image, or leads to a process that has ended
		m.forgetRoute(u)
	}
	m.closeStale()
	m.request(o)
	m.retire(k.server)
	if o.user != nil {
		m.retireUser(o.user)
	} else {
		m.retire(o.client)
	}
}

// hand hands a gate over: the server gets its end first, so that the client's first
// call finds it.
//
// Preconditions: m.mu is held; the gate is kept.
func (m *Monitor) hand(o *opening, g *gate) {
	o.answered()
	s, i := g.server, g.route
	client, server := g.Ends()
	defer client.Close()
	defer server.Close()

	e := gateEvent(o.id(), s.id, o.iface)
	e.Allow, e.Policy, e.Gate = true, m.connect(i, o).Policy, g.Index()
	o.identify(&e)
	m.Audit.Event(e) // before the ends can be used: records of this gate come after

	clientBlock, serverBlock := g.Blocks()
	offer := m.offer(i, g.loaded)
	offer.Block, offer.Peer = serverBlock, m.peerOf(o)
	if s.box != nil {
		offer.Access = abi.AccessPost
		m.handOver(s)
	} else if err := s.send(&offer, append([]*os.File{server}, checkOf(g.Gate)...)...); err != nil {
		m.dropGate(g)
		m.deny(o, s.id, abi.ReasonNotRunning, abi.NoPolicy, "the server does not take its gates")
		return
	}
	offer.Seq, offer.Block, offer.Peer, offer.Name = o.seq, clientBlock, s.peer(), s.def.Name
	offer.Policies = m.told(m.routesOver(o, i)...)
	if _, err := offer.AppendTo(nil); err != nil {
		offer.Policies = nil // beside a long table of methods there is no room for them
	}
	if o.user != nil {
		m.answerUser(o.user, &offer, client, o.user.endpoint.Page())
		return
	}
	if !m.answer(o.client, &offer, append([]*os.File{client}, checkOf(g.Gate)...)...) {
		m.sweep()
	}
}

// uses reports whether a route has a gate, or one that is being made.
//
// Preconditions: m.mu is held.
func (m *Monitor) uses(r Route) bool {
	for g := range m.gates {
		if g.loaded == r {
			return true
		}
	}
	for k := range m.making {
		if k.loaded == r {
			return true
		}
	}
	return false
}
