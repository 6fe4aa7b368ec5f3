package monitor

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// An opening is somebody's request for a gate, until it is answered. It waits
// while a server that may have the gate has started but does not serve yet.
type opening struct {
	client *domain // nil: user
	user   *user
	seq    uint32
	iface  uint32
	server string // "": any
	until  time.Time
	lent   *delegation // by which it is asked for; nil: by its own right
	post   bool        // to a mailbox; else to a domain that answers
}

func (o *opening) id() abi.DomainID {
	if o.client == nil {
		return abi.NoDomain
	}
	return o.client.id
}

func (m *Monitor) answerOpen(d *domain, c *abi.Control) {
	iface, ok := m.ifaces[c.Interface]
	if !ok {
		e := gateEvent(d.id, event.None, event.None)
		e.Reason, e.Text = abi.ReasonUnknownInterface, c.Interface
		m.Audit.Event(e)
		m.refuse(d, c.Seq, abi.ReasonUnknownInterface, abi.NoPolicy, "no domain of this system offers the interface")
		return
	}
	o := &opening{client: d, seq: c.Seq, iface: iface, server: c.Name, until: time.Now().Add(openWait), post: c.Access == abi.AccessPost}
	if reason, text := m.mistaken(o); text != "" {
		m.deny(o, event.None, reason, abi.NoPolicy, text)
		return
	}
	m.request(o)
}

// request answers o, or lets it wait.
//
// Preconditions: m.mu is held.
func (m *Monitor) request(o *opening) {
	if m.try(o, false) {
		return
	}
	if o.client != nil {
		if o.client.pending >= maxPending {
			m.tooMany(o, event.None)
			return
		}
		o.client.pending++
	}
	m.pending = append(m.pending, o)
}

func (m *Monitor) tooMany(o *opening, server abi.DomainID) {
	m.deny(o, server, abi.ReasonQuota, abi.NoPolicy, fmt.Sprintf("the domain waits for %d gates already", maxPending))
}

// waits reports whether somebody waits for the answer.
func (o *opening) waits() bool {
	if o.user != nil {
		return !o.user.gone
	}
	return o.client.state == stateRunning
}

// retry tries again what waits: a server has come or gone.
func (m *Monitor) retry() { m.settle(func(o *opening) bool { return m.try(o, false) }) }

// expire answers what has waited for too long.
func (m *Monitor) expire(now time.Time) {
	m.settle(func(o *opening) bool { return o.until.Before(now) && m.try(o, true) })
}

func (m *Monitor) settle(done func(*opening) bool) {
	// try may change m.pending: a hostile client's other requests go.
	for _, o := range slices.Clone(m.pending) {
		if !slices.Contains(m.pending, o) || !done(o) {
			continue
		}
		if i := slices.Index(m.pending, o); i >= 0 {
			m.pending = slices.Delete(m.pending, i, i+1)
		}
		if o.client != nil {
			o.client.pending--
		}
	}
}

// try answers o if it can be answered now; last: it must.
//
// Preconditions: m.mu is held.
func (m *Monitor) try(o *opening, last bool) bool {
	if !o.waits() {
		return true
	}
	if o.lent != nil && !m.lasts(o.lent) {
		m.deny(o, event.None, abi.ReasonExpired, abi.NoPolicy, "the delegation has ended")
		return true
	}
	var best *domain
	wait := false
	reason, policy, asked := abi.ReasonDefault, abi.NoPolicy, m.addressee(o)
	for _, s := range m.domains {
		if o.server != "" && o.server != s.def.Name || o.post != (s.box != nil) {
			continue
		}
		i, ok := m.routeTo(o, s)
		if !ok {
			continue
		}
		verdict := m.connect(i, o)
		switch {
		case !verdict.Allow && reason == abi.ReasonNotRunning:
			// Another one is allowed: that it does not serve is what the client must know.
		case !verdict.Allow:
			if verdict.Policy != abi.NoPolicy {
				reason, policy = abi.ReasonForbid, verdict.Policy
			}
			asked = s.id
		case s.serving[o.iface], s.box != nil && s.endpoint != nil: // whether its reader runs or not
			if best == nil {
				best = s
			}
		default:
			// The policy allows this one, but it does not serve.
			reason, policy, asked = abi.ReasonNotRunning, abi.NoPolicy, s.id
			opens := s.box != nil && m.Level != abi.LevelLibrary // a change of the policy that brings it is being made
			wait = wait || !m.stopping && (s.state <= stateRunning && !s.served[o.iface] || s.again || opens)
		}
	}
	switch {
	case best != nil:
		m.open(o, best)
		return true
	case wait && !last:
		return false
	}
	m.deny(o, asked, reason, policy, m.explain(o, reason, policy))
	return true
}

// addressee is who was meant, for the record of a refusal: the named server, or
// the one that exports the interface if there is only one.
func (m *Monitor) addressee(o *opening) abi.DomainID {
	found := abi.DomainID(event.None)
	for _, s := range m.domains {
		exports := slices.ContainsFunc(s.def.Exports, func(e image.Export) bool { return e.Interface == o.iface })
		if !exports || o.server != "" && o.server != s.def.Name {
			continue
		}
		if found != event.None {
			return event.None
		}
		found = s.id
	}
	return found
}

func (m *Monitor) explain(o *opening, r abi.Reason, policy uint32) string {
	name := m.Image.Interfaces[o.iface].Name
	switch r {
	case abi.ReasonNotRunning:
		return "no domain that may be asked serves " + name + " now"
	case abi.ReasonForbid:
		return m.policyID(policy) // the client's library words it
	}
	return "no policy permits a call to " + name
}

// identify tells the audit writer which user it is.
func (o *opening) identify(e *event.Event) {
	if o.user == nil {
		o.identifyChain(e)
		return
	}
	e.UID, e.PID, e.Text = o.user.peer.UID, o.user.peer.PID, o.user.peer.Name
	e.List = []uint32{uint32(o.user.atoms.User + 1)}
	for _, g := range o.user.atoms.Groups {
		e.List = append(e.List, uint32(g))
	}
}

func gateEvent(from, to abi.DomainID, iface uint32) event.Event {
	e := event.New(event.Gate)
	e.From, e.To, e.Interface = from, to, iface
	return e
}

// deny refuses o, with a record.
func (m *Monitor) deny(o *opening, server abi.DomainID, r abi.Reason, policy uint32, text string) {
	e := gateEvent(o.id(), server, o.iface)
	e.Reason, e.Policy = r, policy
	o.identify(&e)
	m.Audit.Event(e)
	if r == abi.ReasonQuota && o.client != nil {
		o.client.hits.Gates++
	}
	c := &abi.Control{Op: abi.OpRefused, Seq: o.seq, Reason: r, Detail: policy, Text: text}
	if o.user != nil {
		m.answerUser(o.user, c)
	} else {
		m.answer(o.client, c)
	}
}

// open makes the gate that the policy allows, when its route is loaded, and
// hands it over: the server gets its end first, so that the client's first call
// finds it.
//
// Preconditions: m.mu is held.
func (m *Monitor) open(o *opening, s *domain) {
	i, _ := m.routeTo(o, s)
	if m.exceeds(o, s) != "" {
		m.sweep()
	}
	if why := m.exceeds(o, s); why != "" {
		m.deny(o, s.id, abi.ReasonQuota, abi.NoPolicy, "no more gates: "+why)
		return
	}
	r := m.routeOf(o, i)
	if r == nil {
		m.awaitRoute(o, s, i)
		return
	}
	g, err := m.makeGate(o, s, i, r)
	if err != nil {
		m.notice(s.id, "cannot make a gate: %v", err)
		m.deny(o, s.id, abi.ReasonQuota, abi.NoPolicy, "the gate could not be made; the audit log says why")
		return
	}
	client, server := g.Ends()
	defer client.Close()
	defer server.Close()

	e := gateEvent(o.id(), s.id, o.iface)
	e.Allow, e.Policy, e.Gate = true, m.connect(i, o).Policy, g.Index()
	o.identify(&e)
	m.Audit.Event(e) // before the ends can be used: records of this gate come after

	clientBlock, serverBlock := g.Blocks()
	offer := m.offer(i, r)
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

func (m *Monitor) peerOf(o *opening) abi.Peer {
	if o.user != nil {
		return o.user.peer
	}
	if o.lent != nil {
		return o.lent.peer()
	}
	return o.client.peer()
}

// offer is what both ends learn of a gate.
func (m *Monitor) offer(route uint32, loaded Route) abi.Control {
	r := &m.Image.Routes[route]
	f := &m.Image.Interfaces[r.Interface]
	c := abi.Control{Op: abi.OpGate, Interface: f.Name}
	for i, method := range f.Methods {
		c.Methods = append(c.Methods, abi.ControlMethod{Name: method.Name, ClientStream: method.ClientStream, ServerStream: method.ServerStream, Terse: loaded.Terse(i),
			MaxRequest: m.Image.MaxBody(method.Request), MaxReply: m.Image.MaxBody(method.Reply)})
	}
	for _, k := range m.Image.Metadata {
		c.Metadata = append(c.Metadata, k.Key)
	}
	return c
}

// maxTold bounds the list of policy names in an offer, in bytes.
const maxTold = 12 << 10

// told are the names of the policies of a route, by their index, so that the
// client's library can say which one denied a call. A list that would be too
// long is left out: the audit log has the names anyway.
func (m *Monitor) told(routes ...uint32) []string {
	var names []string
	size := 0
	var methods []*image.MethodPolicy
	for _, r := range routes {
		for i := range m.Image.Routes[r].Methods {
			methods = append(methods, &m.Image.Routes[r].Methods[i])
		}
	}
	for _, p := range methods {
		for _, rules := range [][]image.Rule{p.Request.Forbid, p.Request.Permit, p.Reply.Forbid, p.Reply.Permit} {
			for _, rule := range rules {
				policy := rule.Policy
				if n := int(policy) + 1 - len(names); n > 0 {
					if size += 2 * n; size > maxTold {
						return nil
					}
					names = append(names, make([]string, n)...)
				}
				if names[policy] == "" {
					names[policy] = m.Image.Policies[policy].ID
					size += len(names[policy])
				}
			}
		}
	}
	if size > maxTold {
		return nil
	}
	return names
}

// dup returns another descriptor of f.
func dup(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), dupErr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
