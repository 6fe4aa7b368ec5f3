package gatetest

import (
	"golang.org/x/sys/unix"

	"ward/abi"
)

// mailbox is what the monitor has of one.
type mailbox struct {
	iface  string
	reader string // the domain that has asked for it
	gates  []letters
}

type letters struct {
	reading int
	writer  string
}

// Mailbox adds a mailbox that takes messages of an interface, with the methods
// that gates of it have. Every domain may write and read it.
func (m *Monitor) Mailbox(name, iface string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boxes == nil {
		m.boxes = map[string]*mailbox{}
	}
	m.boxes[name] = &mailbox{iface: iface}
	m.t.Cleanup(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, l := range m.boxes[name].gates {
			unix.Close(l.reading)
		}
	})
}

// Renew tells a domain that there is another name server, or another monitor, which
// knows of no readers.
func (m *Monitor) Renew(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.boxes {
		b.reader = ""
	}
	if to, there := m.ends[name]; there {
		m.send(to, abi.Control{Op: abi.OpRenewed})
	}
}

// post opens a gate to a mailbox.
func (m *Monitor) post(name string, fd int, c *abi.Control) {
	for box, b := range m.boxes {
		if b.iface != c.Interface || c.Name != "" && c.Name != box {
			continue
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			m.t.Errorf("monitor: %v", err)
			return
		}
		b.gates = append(b.gates, letters{pair[1], name})
		m.hand(box, b, len(b.gates)-1)
		g := m.boxGate(b)
		g.Seq, g.Access, g.Name, g.Peer = c.Seq, abi.AccessPost, box, abi.Peer{Name: box}
		g.Block, _ = m.join(name, box)
		m.send(fd, g, pair[0])
		return
	}
	m.send(fd, abi.Control{Op: abi.OpRefused, Seq: c.Seq, Reason: abi.ReasonUnknownInterface})
}

func (m *Monitor) boxGate(b *mailbox) abi.Control {
	g := abi.Control{Op: abi.OpGate, Interface: b.iface, Methods: Methods, Metadata: Metadata}
	if own := m.Methods[b.iface]; own != nil {
		g.Methods = own
	}
	return g
}

// hand gives the reader of a mailbox the reading end of a gate.
func (m *Monitor) hand(box string, b *mailbox, i int) {
	to, there := m.ends[b.reader]
	if !there {
		return // nobody, or the monitor has ended
	}
	copied, err := unix.FcntlInt(uintptr(b.gates[i].reading), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		m.t.Errorf("monitor: %v", err)
		return
	}
	g := m.boxGate(b)
	g.Access, g.Name, g.Peer = abi.AccessRead, box, abi.Peer{Name: b.gates[i].writer}
	m.send(to, g, copied)
}

// receive hands all reading ends of a mailbox over.
func (m *Monitor) receive(name string, fd int, c *abi.Control) {
	b := m.boxes[c.Name]
	if b == nil {
		m.send(fd, abi.Control{Op: abi.OpRefused, Seq: c.Seq, Reason: abi.ReasonDefault, Detail: abi.NoPolicy})
		return
	}
	b.reader = name
	m.send(fd, abi.Control{Op: abi.OpOK, Seq: c.Seq})
	for i := range b.gates {
		m.hand(c.Name, b, i)
	}
}
