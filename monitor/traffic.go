package monitor

import (
	"time"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// What waits on the gates of a domain, for `ward ps`. Nobody counts it on the way:
// the kernel knows it anyway, and is asked when somebody wants to know. Only the
// list of gates is made with the monitor's lock held.

// A Gauge is a Fabric that knows what its filters keep.
type Gauge interface {
	// Pending is how many calls of a gate have no answer yet.
	Pending(Gate) (int, error)
	// Messages is how long it takes until all of a domain's quota of messages can be sent again.
	Messages(abi.DomainID) (time.Duration, error)
}

// A Queue is what a socket has sent and the other end has not read.
type Queue struct {
	Used, Limit uint64 // bytes of the kernel's memory. Beyond the limit the sender waits
}

// gateOf is what is measured of a gate.
type gateOf struct {
	Gate
	name   admin.Gate
	inodes [2]uint64
	client bool // it is the domain's as client
}

// traffic says what waits on the gates of a domain. What happens meanwhile may
// be counted or not.
func (m *Monitor) traffic(id abi.DomainID) *admin.Traffic {
	m.mu.Lock()
	d := m.find(id)
	if d == nil || d.state != stateRunning {
		m.mu.Unlock()
		return nil
	}
	var gates []gateOf
	for g := range m.gates {
		for end, of := range []*domain{g.client, g.server} {
			if of == d && g.live[end] {
				iface, from, to := m.names(g)
				gates = append(gates, gateOf{g.Gate, admin.Gate{Interface: iface, From: from, To: to}, g.inodes, end == 0})
			}
		}
	}
	rate := d.def.Quota.Rate()
	gauge, _ := m.Fabric.(Gauge)
	queues := m.Queues
	m.mu.Unlock()

	t := &admin.Traffic{}
	if gauge != nil {
		t.Calls, t.Answers = pendingOn(gauge, gates)
		t.Messages = messagesUsed(gauge, id, rate)
	}
	if queues != nil {
		if of, err := queues(); err == nil { // else the kernel does not tell
			t.Queued, t.Unread = queuedOn(of, gates)
		}
	}
	return t
}

// pendingOn counts the calls that wait for an answer, and those that wait for the domain's.
func pendingOn(gauge Gauge, gates []gateOf) (calls, answers *admin.Backlog) {
	calls, answers = &admin.Backlog{Limit: abi.Slots}, &admin.Backlog{Limit: abi.Slots}
	for i := range gates {
		g := &gates[i]
		n, err := gauge.Pending(g.Gate)
		if err != nil { // it has just been closed
			continue
		}
		if g.client {
			calls.Add(uint64(n), abi.Slots, &g.name)
		} else {
			answers.Add(uint64(n), abi.Slots, &g.name)
		}
	}
	return calls, answers
}

// messagesUsed is how many of a domain's quota cannot be sent at this moment; nil: it has none.
func messagesUsed(gauge Gauge, id abi.DomainID, rate image.Rate) *uint64 {
	if rate.Every == 0 {
		return nil
	}
	wait, err := gauge.Messages(id)
	if err != nil {
		return nil
	}
	used := min((uint64(wait)+rate.Every-1)/rate.Every, uint64(rate.Burst))
	return &used
}

// queuedOn counts what the domain sent and nobody has read, and what it has not read.
func queuedOn(of map[uint64]Queue, gates []gateOf) (queued, unread *admin.Backlog) {
	queued, unread = &admin.Backlog{}, &admin.Backlog{}
	for i := range gates {
		g := &gates[i]
		mine, theirs := of[g.inodes[0]], of[g.inodes[1]] // one that is closed has nothing
		if !g.client {
			mine, theirs = theirs, mine
		}
		queued.Add(mine.Used, mine.Limit, &g.name)
		unread.Add(theirs.Used, theirs.Limit, &g.name)
	}
	return queued, unread
}
