package monitor

import (
	"maps"

	"ward/audit/event"
)

// A gateEnd is one end of a gate: 0 the client's, 1 the server's.
type gateEnd struct {
	g   *gate
	end int
}

// sweepPortion is how many ends the regular sweep closes before it lets others in.
const sweepPortion = 32

// sweep finds the ends that are closed. A domain may hand an end to nobody, so
// those of ended domains are closed in any case; of the others the kernel
// knows: the sockets of all gates are in the monitor's network namespace, and
// of no other.
//
// Preconditions: m.mu is held.
func (m *Monitor) sweep() {
	m.closeEnds(m.closedEnds(nil))
	for _, d := range m.domains {
		m.retire(d)
	}
}

// sweepCalmly is sweep with m.mu given up now and then: a monitor that takes over
// may find hundreds of gates that were closed meanwhile, each of which costs some 0.2 ms.
func (m *Monitor) sweepCalmly() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ends := m.closedEnds(nil); len(ends) > 0; {
		n := min(len(ends), sweepPortion)
		m.closeEnds(ends[:n])
		ends = ends[n:]
		m.mu.Unlock()
		m.mu.Lock()
	}
	for _, d := range m.domains {
		m.retire(d)
	}
}

// closedEnds lists the ends that are closed and not noted yet, of all gates or of some.
//
// Preconditions: m.mu is held.
func (m *Monitor) closedEnds(some func(*gate) bool) (ends []gateEnd) {
	var alive map[uint64]bool
	if m.Sockets != nil && len(m.gates) > 0 {
		alive = m.aliveNow()
	}
	for g := range m.gates {
		if some != nil && !some(g) {
			continue
		}
		ended := [2]bool{g.client != nil && g.client.state == stateEnded, g.server.state == stateEnded}
		for i, inode := range g.inodes {
			ended[i] = ended[i] || alive != nil && !alive[inode]
		}
		switch left := ended[0] || !g.live[0]; {
		case g.reading != nil: // it stays until nothing waits in it, and nothing can come
			if ended[1] = left && g.waiting() == 0; ended[1] && alive != nil && g.copied() {
				m.giveUp(g)
				ended[1] = false // until the reader has closed its copy
			}
		case g.server.box != nil && !g.copied():
			ended[1] = true
		case g.server.box != nil && m.Sockets == nil: // who still has it cannot be known
			ended[1] = left
		}
		for i := range ended {
			if g.live[i] && ended[i] {
				ends = append(ends, gateEnd{g, i})
			}
		}
	}
	return ends
}

// A listing is whether the kernel lists sockets.
type listing struct{ worked, fails bool }

// aliveNow lists the sockets that there are; nil: they are not known. A kernel that never
// lists them is not asked again; one that did, and is short of memory or descriptors now, is.
//
// Preconditions: m.mu is held; m.Sockets is not nil.
func (m *Monitor) aliveNow() map[uint64]bool {
	alive, err := m.listSockets()
	switch {
	case err == nil:
		m.listing = listing{worked: true}
		return alive
	case !m.listing.worked:
		m.Sockets = nil
		m.notice(event.None, "ended gates are found only when their domains end: %v", err)
	case !m.listing.fails:
		m.listing.fails = true
		m.notice(event.None, "ended gates are not found now, which is tried again: %v", err)
	}
	return nil
}

func (m *Monitor) closeEnds(ends []gateEnd) {
	for _, e := range ends {
		m.endClosed(e.g, e.end) // nothing, if that was noted meanwhile
	}
}

// listSockets lists the sockets of this network namespace. The kernel lists in
// pieces, and leaves one out if others before it are closed between two of them
// (unix_diag_dump, net/unix/diag.c): so an end counts as closed only if a second
// list does not have it either.
func (m *Monitor) listSockets() (map[uint64]bool, error) {
	alive, err := m.Sockets()
	if err != nil {
		return nil, err
	}
	missing := false
	for g := range m.gates {
		for i, inode := range g.inodes {
			missing = missing || g.live[i] && !alive[inode]
		}
	}
	if !missing {
		return alive, nil
	}
	again, err := m.Sockets()
	if err != nil {
		return nil, err
	}
	all := maps.Clone(alive)
	maps.Copy(all, again)
	return all, nil
}
