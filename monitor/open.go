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

	counted bool          // in client.pending
	turn    chan struct{} // closed when its turn is over (turns.go); nil: it had none
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
	if !m.try(o, false) && m.enlist(o, event.None) {
		m.pending = append(m.pending, o)
	}
}

// enlist counts a request among those that its domain waits for, until it is
// answered; if these are too many it is refused.
//
// Preconditions: m.mu is held.
func (m *Monitor) enlist(o *opening, server abi.DomainID) bool {
	switch {
	case o.client == nil || o.counted:
	case o.client.pending >= maxPending:
		m.tooMany(o, server)
		return false
	default:
		o.client.pending++
		o.counted = true
	}
	return true
}

// answered ends that.
func (o *opening) answered() {
	if o.counted {
		o.client.pending--
		o.counted = false
	}
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
	// done may change m.pending: a hostile client's other requests go.
	for _, o := range slices.Clone(m.pending) {
		if !slices.Contains(m.pending, o) || !done(o) {
			continue
		}
		if i := slices.Index(m.pending, o); i >= 0 {
			m.pending = slices.Delete(m.pending, i, i+1)
		}
	}
}

// over reports whether a request is done with before it is decided: nobody waits for
// the answer any more, or the delegation by which it is made has ended, as it is told.
//
// Preconditions: m.mu is held.
func (m *Monitor) over(o *opening) bool {
	switch {
	case !o.waits():
		o.answered()
	case o.lent != nil && !m.lasts(o.lent):
		m.deny(o, event.None, abi.ReasonExpired, abi.NoPolicy, "the delegation has ended")
	default:
		return false
	}
	return true
}

// try lets o wait for its turn if it can have a gate now, and refuses it if it cannot
// have one at all; last: it does not wait for a server.
//
// Preconditions: m.mu is held.
func (m *Monitor) try(o *opening, last bool) bool {
	if m.over(o) {
		return true
	}
	c := m.choose(o)
	switch {
	case c.server != nil:
		m.queue(o)
		return true
	case c.wait && !last:
		return false
	}
	m.deny(o, c.asked, c.reason, c.policy, m.explain(o, c.reason, c.policy))
	return true
}

// A choice is what the image, and who serves now, say to a request.
type choice struct {
	server *domain      // that it gets a gate to; nil: none,
	wait   bool         // … yet
	reason abi.Reason   // … for which reason,
	policy uint32       // … and by which policy
	asked  abi.DomainID // for the record of a refusal
}

// serves reports whether gates of an interface can be opened to a domain. To a
// mailbox they can whether its reader runs or not.
func (d *domain) serves(iface uint32) bool {
	return d.serving[iface] || d.box != nil && d.endpoint != nil
}

// choose decides a request.
//
// Preconditions: m.mu is held.
func (m *Monitor) choose(o *opening) choice {
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
		case s.serves(o.iface):
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
	return choice{best, wait, reason, policy, asked}
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
	o.answered()
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
