package monitor

import (
	"slices"
	"syscall"
	"testing"

	"ward/audit/event"
)

// A hearingCreator hears a monitor as long as it lives.
type hearingCreator struct {
	*fakeCreator
	span  *span
	heard []uint64
}

func (c *hearingCreator) Heard(number uint64) {
	if c.span.lasts() {
		c.mu.Lock()
		c.heard = append(c.heard, number)
		c.mu.Unlock()
	}
	c.fakeCreator.Heard(number)
}

// tells makes the creator tell something unasked, and waits until the monitor has acted on it.
func (s *system) tells(notice any) {
	s.t.Helper()
	var number uint64
	switch n := notice.(type) {
	case Hit:
		number = n.Number
		s.creator.hits <- n
	case Exit:
		number = n.Number
		s.creator.exits <- n
	}
	s.until("it is acted on", func() bool {
		s.creator.mu.Lock()
		defer s.creator.mu.Unlock()
		return slices.Contains(s.creator.acted, number)
	})
}

// tellsAgain does what a creator does for a monitor that takes over: it tells what the one
// before did not say that it had acted on.
func (h *heir) tellsAgain(notice any) {
	h.t.Helper()
	var number uint64
	switch n := notice.(type) {
	case Hit:
		number = n.Number
	case Exit:
		number = n.Number
	}
	c := h.died.m.Creator.(*hearingCreator)
	c.mu.Lock()
	known := slices.Contains(c.heard, number)
	c.mu.Unlock()
	if !known {
		h.tells(notice)
	}
}

// What comes again is not done again, and what is new is; of a process that is not the
// domain's any more, neither.
func TestToldAgain(t *testing.T) {
	s := startSystem(t, nil)
	quotas := func() (n int) {
		s.audit.mu.Lock()
		defer s.audit.mu.Unlock()
		for _, e := range s.audit.events {
			if e.Kind == event.Quota {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		number uint64
		want   int // records in all
	}{{0, 1}, {7, 2}, {7, 2}, {6, 2}, {0, 3}, {8, 4}} {
		s.m.tookHit(Hit{Domain: client, Limit: LimitMemory, Count: 1, Number: c.number})
		if got := quotas(); got != c.want {
			t.Errorf("after number %d: %d records, want %d", c.number, got, c.want)
		}
	}
	s.tells(Exit{Domain: second, PID: 1, Status: syscall.WaitStatus(0), Number: 9})
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.domains[second].state != stateRunning {
		t.Error("a process that is not the domain's any more ended it")
	}
	// Nor does the end of the process before end one that is just being made, whose number nobody knows.
	d := s.m.domains[second]
	d.state = stateStarting
	s.m.mu.Unlock()
	s.m.exited(&Exit{Domain: second, PID: 1, Number: 9})
	s.m.mu.Lock()
	if d.exit != nil {
		t.Error("an end that was acted on is taken for that of a process that is being made")
	}
	d.state = stateRunning
}
