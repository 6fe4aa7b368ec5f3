package monitor

import (
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// made is a child that a monitor which is about to die has made.
type made struct {
	parent *fakeDomain
	id     abi.DomainID
}

// makes has client make a child, and waits for the answer.
func (s *system) makes(parent *fakeDomain) made {
	s.t.Helper()
	got, _ := parent.ask(abi.Control{Op: abi.OpSpawn, Seq: 900, Text: (&abi.SpawnRequest{Template: "leaf"}).Encode()})
	if got.Op != abi.OpChild {
		s.t.Fatalf("no child: %+v", got)
	}
	return made{parent, abi.DomainID(got.Block)}
}

// endChild lets a child's process end, and says so to whoever is the monitor now.
func (s *system) endChild(id abi.DomainID) {
	s.creator.exits <- Exit{Domain: id, PID: 1000 + int(id), Status: exit3}
}

// told is how often a parent hears of the end of its child, until it is asked for nothing more.
func (c *made) told() (n int) {
	c.parent.send(abi.Control{Op: abi.OpChildren, Seq: 901})
	for {
		switch got, _ := c.parent.read(); {
		case got.Op == abi.OpChildEnded && got.Block == uint32(c.id):
			n++
		case got.Seq == 901:
			return n
		}
	}
}

// running reports whether the heir has a child that runs.
func (h *heir) running(id abi.DomainID) bool {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return h.m.children[id] != nil && h.m.children[id].state == stateRunning
}

// namesAll checks that whatever names a child comes behind an event that says who that is,
// of whichever monitor: the audit writers do not forget it.
func (h *heir) namesAll() {
	h.t.Helper()
	known := map[abi.DomainID]bool{}
	for _, e := range h.audit.written() {
		if e.Kind == event.Child {
			known[e.Domain] = true
		}
		for _, id := range []abi.DomainID{e.Domain, e.From, e.To} {
			if id >= image.FirstChild && id != event.None && !known[id] {
				h.t.Errorf("nobody has said who %d is: %+v", id, e)
			}
		}
	}
}

// TestChildRecordedOnce: before whichever of its messages a monitor dies that makes a
// child, ends one that breaks the rules, or is told of the end of one: once the next
// has taken over there is one record of each that was done, with the child's name, and
// the parent was told of the end.
func TestChildRecordedOnce(t *testing.T) {
	change := func(c *Config) {
		lineage(c.Image)
		c.Creator = &makingChildren{fakeCreator: c.Creator.(*fakeCreator)}
	}
	spawned := func(h *heir, id abi.DomainID) int {
		return h.count(event.Spawned, func(e *event.Event) bool { return e.Allow && e.Domain == id })
	}
	const first = image.FirstChild
	gone := func(s *system, id abi.DomainID) {
		s.until("the end of the child", func() bool { return s.m.children[id] == nil })
	}
	var child made
	before := func(s *system) any {
		child = s.makes(s.domain(client))
		return child
	}
	for name, d := range map[string]doing{
		"start": {
			change: change,
			before: func(s *system) any { return s.domain(client) },
			do:     func(s *system, had any) { s.makes(had.(*fakeDomain)) },
			after: func(h *heir) {
				want := 0
				if h.running(first) {
					want = 1
				}
				h.wants("spawned", spawned(h, first), want)
				h.wants("ended", h.count(event.Ended, about(first)), 0)
				if want == 1 {
					h.endChild(first)
					gone(h.system, first)
				}
				h.wants("ended", h.count(event.Ended, about(first)), want)
				h.namesAll()
			},
		},
		"end": {
			change: change,
			before: before,
			do: func(s *system, had any) {
				s.endChild(had.(made).id)
				gone(s, had.(made).id)
			},
			after: func(h *heir) {
				if h.running(first) {
					h.endChild(first)
				}
				gone(h.system, first)
				h.wants("spawned", spawned(h, first), 1)
				h.wants("ended", h.count(event.Ended, about(first)), 1)
				if n := child.told(); n == 0 {
					h.t.Error("its parent is not told")
				}
				if h.count(event.RingGone, about(first)) == 0 {
					h.t.Error("nobody says whose ring it was that has gone")
				}
				h.namesAll()
			},
		},
		"hostile": {
			change: change,
			before: before,
			do: func(s *system, had any) {
				s.m.mu.Lock()
				s.m.hostile(s.m.children[had.(made).id], "is a test")
				s.m.mu.Unlock()
				gone(s, had.(made).id)
			},
			after: func(h *heir) {
				want := 1
				if h.running(first) {
					h.m.mu.Lock()
					if !h.m.children[first].hostile {
						want = 0
					}
					h.m.mu.Unlock()
					h.endChild(first)
				}
				gone(h.system, first)
				h.wants("killed", h.count(event.Notice, func(e *event.Event) bool { return e.Domain == first && e.Text == "killed: it is a test" }), want)
				h.wants("spawned", spawned(h, first), 1)
				h.wants("ended", h.count(event.Ended, about(first)), 1)
				h.namesAll()
			},
		},
	} {
		t.Run(name, func(t *testing.T) { d.atEveryMessage(t) })
	}
}
