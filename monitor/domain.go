package monitor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// state of a domain. It only moves forward.
type state uint8

const (
	stateWaiting state = iota
	stateStarting
	stateRunning
	stateEnded
	stateRefused  // the policy forbids its start
	stateTemplate // children are made of it
	stateMailbox  // messages wait in it for their reader (mailbox.go)
)

type domain struct {
	id  abi.DomainID
	def *image.Domain

	state    state
	process  Process // Pidfd is the holder's
	control  channel
	endpoint Endpoint
	exit     *Exit           // it has ended, perhaps before its start was complete
	status   int             // as a shell gives it
	serving  map[uint32]bool // interfaces for which it takes gates
	served   map[uint32]bool // … or did
	ends     int             // gate ends that it holds
	leaving  *leave          // a change took it away (takenaway.go); nil: none did
	pending  int             // gates that it waits for
	turn     chan struct{}   // of its last request for a gate; nil: it had its turn
	limit    int             // of ends
	share    int             // of limit, that one client may have
	loads    int             // of routes, and gates that are made, that use its endpoint
	last     Counters        // when its endpoint was closed
	hostile  bool            // killed for what it did: not started again
	life                     // supervise.go
	hits     admin.Hits      // limits that it ran into (quota.go)
	standing standing        // how many of it stand at a limit (standing.go)
	kept     lifeFiles       // keep.go
	kin      *kin            // of a child (spawn.go); nil: of the image
	early    early           // hasten.go
	box      *mailbox        // it is one (mailbox.go); nil: it is not
	requests requests        // heard
	told     telling         // with what is kept next (tell.go)
}

func newDomain(img *image.Image, id abi.DomainID) *domain {
	d := &domain{id: id, def: &img.Domains[id], serving: map[uint32]bool{}, served: map[uint32]bool{}, limit: int(img.Limits(id).Gates),
		life: life{ringID: uint32(id), ready: make(chan struct{})}}
	if d.def.Template {
		d.state = stateTemplate
		d.setReady() // nobody waits for it
	}
	if d.def.Mailbox {
		d.state, d.box = stateMailbox, &mailbox{pace: newBucket(handRate, handBurst)}
		d.setReady()
	}
	return d
}

// ring is the size of its ring buffer, in bytes: servers send most.
func (d *domain) ring() int {
	if len(d.def.Exports) > 0 {
		return serverRing
	}
	return clientRing
}

func (d *domain) peer() abi.Peer {
	return abi.Peer{Domain: d.id, Name: d.def.Name, UID: d.process.UID, PID: uint32(d.process.PID), Ring: d.def.Ring.Level}
}

// start starts the domains: the name server, then each after those that it
// needs, which are ready then, and those that it may call.
func (m *Monitor) start(ctx context.Context) error {
	if !m.begun {
		if err := m.initialSystem(); err != nil {
			return err
		}
		m.mu.Lock()
		m.begun = true
		m.keepSystem()
		m.mu.Unlock()
	}
	m.mu.Lock()
	err := m.openMailboxes()
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.listenAdmin(); err != nil {
		return err
	}
	if err := m.operate(); err != nil {
		return err
	}
	for _, d := range m.order() {
		select {
		case <-m.stop:
			return nil
		default:
		}
		m.mu.Lock()
		waits := d.state == stateWaiting && m.domains[d.id] == d && !(m.restored && m.started)
		m.mu.Unlock()
		if !waits { // an earlier monitor has started it
			continue
		}
		m.awaitNeeds(d)
		if err := m.startDomain(ctx, d); err != nil {
			return fmt.Errorf("domain %s: %w", d.def.Name, err)
		}
	}
	return m.listenOutside()
}

// order is that in which domains are started. Where domains need each other in
// a circle, one is first.
func (m *Monitor) order() []*domain {
	m.mu.Lock() // a monitor that takes over starts domains again beside this
	defer m.mu.Unlock()
	var order []*domain
	seen := map[*domain]bool{}
	var visit func(d *domain)
	visit = func(d *domain) {
		if d == nil || seen[d] {
			return
		}
		seen[d] = true
		for _, need := range d.def.Needs {
			visit(m.byName[need])
		}
		for i := range m.Image.Routes { // and those that it may call
			if r := &m.Image.Routes[i]; r.Client == d.id && r.Connect.Allow {
				visit(m.domains[r.Server])
			}
		}
		order = append(order, d)
	}
	rank := func(d *domain) int {
		switch {
		case d.def.Names:
			return 0
		case len(d.def.Exports) > 0:
			return 1
		}
		return 2
	}
	sorted := slices.Clone(m.domains)
	slices.SortStableFunc(sorted, func(a, b *domain) int { return rank(a) - rank(b) })
	for _, d := range sorted {
		visit(d)
	}
	return order
}

func (m *Monitor) startDomain(ctx context.Context, d *domain) error {
	if d.def.Template {
		return nil
	}
	e := event.New(event.Started)
	e.Domain, e.Policy, e.Ring, e.Allow = d.id, d.def.Start.Policy, d.def.Ring.Level, d.def.Start.Allow
	if !d.def.Start.Allow {
		m.mu.Lock()
		defer m.mu.Unlock()
		d.state = stateRefused
		d.told.add(e)
		m.keepTold(&d.told, func() { m.keepLife(d) })
		m.failed = m.failed || d.def.Once
		return nil
	}
	control, theirs, err := link.Pair("control channel of " + d.def.Name)
	if err != nil {
		return err
	}
	defer theirs.Close()
	if err := guardControl(d.def, theirs); err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	m.mu.Lock()
	if m.stopping { // nobody would end it
		m.mu.Unlock()
		control.Close()
		read.Close()
		return errStopping
	}
	d.state, d.control, d.kept.output = stateStarting, control, read
	m.keepLife(d)
	m.sendOutput(d)
	m.mu.Unlock()
	p, err := m.Creator.Start(ctx, d.id, theirs, write)
	m.madeLate(d.id, err, spawnWait) // nothing is loaded meanwhile, if a change starts it
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		d.state, d.status = stateEnded, 127
		m.dropLife(d)
		return err
	}
	defer p.Pidfd.Close()
	if p.Arrived != nil {
		defer p.Arrived()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d.process = p
	d.process.Pidfd, d.process.Ring, d.process.Notify, d.process.Arrived = nil, nil, nil, nil
	if d.kept.pidfd, err = dup(p.Pidfd); err != nil {
		return err
	}
	if p.Ring != nil {
		if d.kept.refused, err = dup(p.Ring); err != nil {
			return err
		}
	}
	e.UID, e.PID = p.UID, uint32(p.PID)
	if err := m.equip(d, e); err != nil {
		return err
	}
	m.arrived(d, p)
	if d.exit = d.exit.of(&p); d.exit != nil {
		m.ended(d)
		return nil
	}
	if !d.def.Start.Allow { // a reload took that away while the creator made the process
		m.work.run(func() { m.kill(d) })
	}
	go m.listen(d)
	return nil
}

// equip makes the domain's endpoint, records that it is started, and greets it.
func (m *Monitor) equip(d *domain, started event.Event) error {
	if err := m.initialDomain(d.id); err != nil {
		return err
	}
	var err error
	if d.endpoint, err = m.makeEndpoint(d); err != nil {
		return err
	}
	if err := m.sendRing(d.endpoint, d.ringID, d.id, 0, ""); err != nil {
		return err
	}
	d.state = stateRunning
	d.told.add(started)
	m.keepTold(&d.told, func() { m.keepLife(d) })
	hello := abi.Control{Op: abi.OpHello, Name: d.def.Name, System: m.Image.Name}
	if err := d.send(&hello, append([]*os.File{d.endpoint.Page()}, reportsOf(d.endpoint)...)...); err != nil {
		m.notice(d.id, "cannot be greeted: %v", err)
	}
	return nil
}

// sendRing gives the audit writer a copy of an endpoint's ring buffer, which
// outlives the endpoint, so that nothing in it is lost.
func (m *Monitor) sendRing(e Endpoint, id uint32, d abi.DomainID, uid uint32, name string) error {
	ring, err := dup(e.Ring())
	if err != nil {
		return err
	}
	r := event.New(event.Ring)
	r.Endpoint, r.Domain, r.UID, r.Text = id, d, uid, name
	m.Audit.Event(r, ring)
	return nil
}

// send sends a control message at once or not at all.
func (d *domain) send(c *abi.Control, files ...*os.File) error {
	msg, err := c.AppendTo(nil)
	if err != nil {
		return err
	}
	return d.control.Try(msg, files...)
}

// tellChange tells who waits for the end of domains (await) that one has ended.
func (m *Monitor) tellChange() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// ended cleans up after a domain.
//
// Preconditions: m.mu is held; d.exit is set.
func (m *Monitor) ended(d *domain) {
	d.state = stateEnded
	d.leaves(nil)
	d.status = exitStatus(d.exit.Status)
	clear(d.serving)
	clear(d.standing)
	d.control.Close()
	e := event.New(event.Ended)
	e.Domain, e.PID, e.Status = d.id, uint32(d.exit.PID), int32(d.status)
	if d.kin != nil {
		e.Text = d.def.Name
	}
	d.told.add(e)
	if again := m.left(d); d.def.Once && d.status != 0 && !again {
		m.failed = true
		m.keepSystem()
	}
	m.keepTold(&d.told, func() { m.keepNow(d) }) // before its control channel is given up
	m.keepLife(d)
	m.sendOutput(d) // a writer that was to read it may have died: its last words are in there
	m.release(d)
	m.endObjects(d)
	m.endChildren(d)
	if d.kin != nil {
		m.childGone(d)
	}
	m.sweep()
	m.retire(d)
	m.retry()
}

// exitStatus is the status as a shell gives it: 128+n after signal n.
func exitStatus(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// retire closes the endpoint of a domain that has ended, or may no longer start, and
// has no gate left.
//
// Preconditions: m.mu is held.
func (m *Monitor) retire(d *domain) {
	if d.state != stateEnded && d.state != stateRefused || d.endpoint == nil || d.loads > 0 {
		return
	}
	for g := range m.gates {
		if g.client == d || g.server == d {
			return
		}
	}
	m.closeChained(d)
	m.forgetRoutes(d)
	for i, r := range m.loaded {
		if m.find(d.id) == d && (m.Image.Routes[i].Client == d.id || m.Image.Routes[i].Server == d.id) {
			m.closeRoute(r)
			delete(m.loaded, i)
		}
	}
	d.last = m.closeEndpoint(d.endpoint, d.ringID, d.id, 0, "")
	d.endpoint = nil
	m.dropLife(d)
}

// closeEndpoint frees an endpoint, of which the audit writer has all there is then: one
// that was never told of its ring reads that, and must know whose it was.
func (m *Monitor) closeEndpoint(e Endpoint, id uint32, d abi.DomainID, uid uint32, name string) Counters {
	c, err := e.Counters()
	if err != nil {
		m.notice(event.None, "counters of an endpoint: %v", err)
	}
	gone := event.New(event.RingGone)
	gone.Endpoint, gone.Count, gone.Domain, gone.UID, gone.Text = id, c.Records, d, uid, name
	m.Audit.Event(gone, ringCopy(e)...) // a writer that has not read all of it may die
	e.Close()
	return c
}
