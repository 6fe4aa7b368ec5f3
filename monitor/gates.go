package monitor

import (
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
)

// A gate is one that is open, until both ends are closed everywhere. While one
// end lives the gate must stay as it is: what the other side sent before it
// ended is still to be read.
type gate struct {
	Gate
	route          uint32
	loaded         Route   // whose programs judge it
	client, server *domain // client nil: user
	user           *user
	inodes         [2]uint64 // of the client's and the server's end
	live           [2]bool
	chained        bool // by policies of a chain: of a child, or of a delegation
	told           bool // it is recorded that it was closed
	letters             // of a gate to a mailbox
}

// admit takes a gate that was made among those that are open: kept first, so that the
// next monitor knows of it before anybody else does.
//
// Preconditions: m.mu is held.
func (m *Monitor) admit(g *gate) {
	m.keepGate(g)
	m.gates[g] = struct{}{}
	m.book.openEnds(g)
	g.server.ends++
	if g.client != nil {
		g.client.ends++
	}
}

func inode(f *os.File) (uint64, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	var statErr error
	if err := raw.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &st) }); err != nil {
		return 0, err
	}
	return st.Ino, statErr
}

// endClosed notes that nobody has an end (0 client, 1 server) any more.
func (m *Monitor) endClosed(g *gate, end int) {
	if !g.live[end] {
		return
	}
	g.live[end] = false
	if end == 1 {
		g.server.ends--
	} else if g.client != nil {
		g.client.ends--
	}
	if !g.live[0] && !g.live[1] {
		m.forget(g)
	}
}

// dropGate ends a gate whose ends were not handed over.
func (m *Monitor) dropGate(g *gate) {
	m.endClosed(g, 0)
	m.endClosed(g, 1)
}

func (m *Monitor) forget(g *gate) {
	if _, ok := m.gates[g]; !ok {
		return
	}
	delete(m.gates, g)
	if err := g.Close(); err != nil {
		m.notice(event.None, "closing a gate: %v", err)
	}
	g.discard()
	m.endHandles(g)
	m.drop(key(keptGate, g.Index()))
	if g.told {
		m.drop(key(keptClosed, g.Index()))
	}
	m.closeStale()
	if g.user != nil {
		m.retireUser(g.user)
	} else {
		m.retire(g.client)
	}
	m.retire(g.server)
}

// names of a gate for people.
func (m *Monitor) names(g *gate) (iface, from, to string) {
	r := &m.Image.Routes[g.route]
	from = "user"
	if r.Client != abi.NoDomain {
		from = m.Image.Domains[r.Client].Name
	}
	return m.Image.Interfaces[r.Interface].Name, from, m.Image.Domains[r.Server].Name
}
