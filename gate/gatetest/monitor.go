package gatetest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
)

// Monitor plays the reference monitor and the name server for the domains of
// one test. Its gates have no filters; what it refuses, it is told.
type Monitor struct {
	t testing.TB

	mu      sync.Mutex
	ends    map[string]int             // control channels by domain
	serving map[string]map[string]bool // interface -> domains
	names   map[string][]string        // interface -> domains that published
	last    map[string]int             // interface -> number of its last publication
	changed chan struct{}              // closed and replaced when names change

	published int // publications so far

	// Methods are those of interfaces whose gates have others than Methods.
	Methods map[string][]abi.ControlMethod

	boxes   map[string]*mailbox
	named   map[string]*Object
	objects objects

	// Tamper changes what is answered to requests about objects; nil: nothing. The
	// monitor closes the descriptors that it returns.
	Tamper func(request, answer *abi.Control, fds []int) []int

	// Refuse says why a request is refused; nil: nothing is. Text goes with it.
	Refuse func(client string, c *abi.Control) (abi.Reason, string)

	// Names says with which error the name server answers a call; nil: none.
	Names func(client, method string) error
}

// NewMonitor starts a monitor that ends with the test.
func NewMonitor(t testing.TB) *Monitor {
	m := &Monitor{t: t, ends: map[string]int{}, serving: map[string]map[string]bool{}, names: map[string][]string{}, last: map[string]int{}, changed: make(chan struct{}), objects: newObjects()}
	t.Cleanup(m.Kill)
	return m
}

// Kill closes all control channels, as the end of the monitor's process does.
func (m *Monitor) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, fd := range m.ends {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		delete(m.ends, name)
	}
	m.objects.close()
	for _, o := range m.named {
		o.close()
	}
}

// Domain starts a domain, in this process.
func (m *Monitor) Domain(name string) *gate.Domain {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.ends[name] = fds[0]
	m.mu.Unlock()
	m.send(fds[0], abi.Control{Op: abi.OpHello, Name: name, System: "test"})
	go m.listen(name, fds[0])
	d, err := gate.NewDomain(fds[1])
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *Monitor) send(fd int, c abi.Control, fds ...int) {
	b, err := c.AppendTo(nil)
	if err == nil {
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		err = unix.Sendmsg(fd, b, oob, nil, unix.MSG_NOSIGNAL)
	}
	if err != nil && err != unix.EPIPE {
		m.t.Errorf("monitor: %v", err)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func (m *Monitor) listen(name string, fd int) {
	defer unix.Close(fd)
	b := make([]byte, abi.MaxControl)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			return
		}
		c, err := abi.ParseControl(b[:n])
		if err != nil {
			m.t.Errorf("monitor: from %s: %v", name, err)
			return
		}
		m.answer(name, fd, &c)
	}
}

func (m *Monitor) answer(name string, fd int, c *abi.Control) {
	if m.Refuse != nil {
		if r, text := m.Refuse(name, c); r != abi.ReasonNone {
			m.send(fd, abi.Control{Op: abi.OpRefused, Seq: c.Seq, Reason: r, Detail: abi.NoPolicy, Text: text})
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c.Op {
	case abi.OpServe:
		if m.serving[c.Interface] == nil {
			m.serving[c.Interface] = map[string]bool{}
		}
		m.serving[c.Interface][name] = true
		m.send(fd, abi.Control{Op: abi.OpOK, Seq: c.Seq})
	case abi.OpUnserve:
		delete(m.serving[c.Interface], name)
		m.send(fd, abi.Control{Op: abi.OpOK, Seq: c.Seq})
	case abi.OpOpen:
		if c.Access == abi.AccessPost {
			m.post(name, fd, c)
			return
		}
		m.open(name, fd, c)
	case abi.OpReceive:
		m.receive(name, fd, c)
	default:
		m.object(name, fd, c)
	}
}

// open makes a gate, to the name server or to another domain.
func (m *Monitor) open(name string, fd int, c *abi.Control) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.t.Errorf("monitor: %v", err)
		return
	}
	if c.Name == "" && c.Interface != gate.NamesInterface { // any that serves, as the policy lets all
		for _, n := range slices.Sorted(maps.Keys(m.serving[c.Interface])) {
			c.Name = n
			break
		}
	}
	g := abi.Control{Op: abi.OpGate, Interface: c.Interface, Methods: Methods, Metadata: Metadata}
	if own := m.Methods[c.Interface]; own != nil {
		g.Methods = own
	}
	client := g
	client.Seq, client.Peer = c.Seq, abi.Peer{Name: c.Name}
	switch {
	case c.Interface == gate.NamesInterface:
		client.Methods = []abi.ControlMethod{{Name: "Publish"}, {Name: "Withdraw"}, {Name: "Lookup"}}
		e := gate.End{Interface: c.Interface, Socket: pair[1], Page: -1, Methods: client.Methods, Peer: abi.Peer{Name: name}}
		go gate.ServeEnd(context.Background(), e, gate.HandlerFunc(m.serveNames))
	case m.serving[c.Interface][c.Name]:
		g.Peer = abi.Peer{Name: name}
		client.Block, g.Block = m.join(name, c.Name)
		m.send(m.ends[c.Name], g, pair[1])
	default:
		unix.Close(pair[0])
		unix.Close(pair[1])
		m.send(fd, abi.Control{Op: abi.OpRefused, Seq: c.Seq, Reason: abi.ReasonNotRunning})
		return
	}
	m.send(fd, client, pair[0])
}

// serveNames is the name server.
func (m *Monitor) serveNames(ctx context.Context, call *gate.ServerCall) error {
	b, err := call.Recv()
	if err != nil {
		return err
	}
	iface, wait, after, numbered := "", false, 0, false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		b = b[n:]
		if num == 1 {
			s, n := protowire.ConsumeString(b)
			iface, b = s, b[n:]
			continue
		}
		v, _ := protowire.ConsumeVarint(b)
		if num == 2 {
			wait = v == 1
		} else {
			after, numbered = int(v), true
		}
		b = b[protowire.ConsumeFieldValue(num, typ, b):]
	}
	peer, _ := gate.PeerFrom(ctx)
	if m.Names != nil {
		if err := m.Names(peer.Name, call.Method()); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch call.Method() {
	case "Publish":
		m.names[iface] = append(m.names[iface], peer.Name)
		m.published++
		m.last[iface] = m.published
	case "Withdraw":
		m.names[iface] = slices.DeleteFunc(m.names[iface], func(n string) bool { return n == peer.Name })
	case "Lookup":
		for wait && (len(m.names[iface]) == 0 || m.last[iface] <= after) {
			changed := m.changed
			m.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			m.mu.Lock()
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if len(m.names[iface]) == 0 {
			return gate.Errorf(gate.NotFound, "no domain serves %s now", iface)
		}
		var reply []byte
		for _, n := range m.names[iface] {
			reply = protowire.AppendString(protowire.AppendTag(reply, 1, protowire.BytesType), n)
		}
		if numbered {
			reply = protowire.AppendVarint(protowire.AppendTag(reply, 2, protowire.VarintType), uint64(m.last[iface]))
		}
		return call.Send(reply)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return call.Send(nil)
}
