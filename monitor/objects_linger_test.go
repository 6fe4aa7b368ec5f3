package monitor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
)

// What somebody keeps mapped counts after its last reference, however often it is
// asked for more; what nobody keeps makes room at once.
func TestMemoryLingers(t *testing.T) {
	memories := &fakeMemories{}
	s := memorySystem(t, func(c *Config) { c.Memories = memories })
	c := s.domain(client)
	seq := uint32(0)
	next := func() uint32 { seq++; return seq }
	var kept []*os.File
	for range 3 {
		ref, f := c.gets(makes(next(), 1), readWrite, 1)
		memories.keeps(f, true)
		kept = append(kept, f)
		c.ok(drop(next(), ref))
	}
	for range 3 {
		if text := c.refused(makes(next(), 1), abi.ReasonQuota); !strings.Contains(text, "3 instances") || !strings.Contains(text, "3 of frames are kept open") {
			t.Errorf("refused: %s", text)
		}
	}
	ref, _ := c.gets(openBoard(next(), readOnly), readOnly, 1<<12) // the count is the object's own
	c.ok(drop(next(), ref))
	if n := s.instances(); n != 4 {
		t.Errorf("%d instances, want three that linger and the board", n)
	}
	// The request finds it, whichever it is.
	memories.keeps(kept[1], false)
	ref, _ = c.gets(makes(next(), 1), readWrite, 1)
	c.refused(makes(next(), 1), abi.ReasonQuota)
	// So does the sweep.
	memories.keeps(kept[0], false)
	memories.keeps(kept[2], false)
	s.m.mu.Lock()
	s.m.endUnopened()
	left := len(s.m.book.lingering)
	s.m.mu.Unlock()
	if n := s.instances(); n != 2 || left != 0 {
		t.Errorf("%d instances, %d linger", n, left)
	}
	// The control: what nobody keeps.
	c.ok(drop(next(), ref))
	for range 10 {
		ref, _ := c.gets(makes(next(), 1), readWrite, 1)
		c.ok(drop(next(), ref))
	}
	// What cannot be known counts, and is said once.
	memories.mu.Lock()
	memories.deaf = errors.New("leases are off")
	memories.mu.Unlock()
	for range 3 {
		ref, _ := c.gets(makes(next(), 1), readWrite, 1)
		c.ok(drop(next(), ref))
	}
	c.refused(makes(next(), 1), abi.ReasonQuota)
	said := 0
	s.audit.mu.Lock()
	for _, e := range s.audit.events {
		if e.Kind == event.Notice && strings.Contains(e.Text, "leases are off") {
			said++
		}
	}
	s.audit.mu.Unlock()
	if said != 1 {
		t.Errorf("said %d times", said)
	}
}

// A receiver that keeps what it was given makes nothing of it come to an end: not
// by dropping it, and not when the maker is gone; the next one that is looked at
// is that which was not for longest.
func TestMemoryLingersWithReceivers(t *testing.T) {
	memories := &fakeMemories{}
	const count = 2*lookMost + 3
	s := memorySystem(t, func(c *Config) { c.Memories, c.Image.Objects[frames].Count = memories, count })
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	seq := uint32(10)
	next := func() uint32 { seq++; return seq }
	var last *os.File
	for range count {
		ref, f := c.gets(makes(next(), 1), readWrite, 1)
		id := c.offers(offer(next(), ref, cb, readWrite))
		s.fabric.admit(id)
		theirs, _ := srv.gets(redeem(next(), id, sb), readWrite, 1)
		memories.keeps(f, true)
		c.ok(drop(next(), ref))
		srv.ok(drop(next(), theirs))
		last = f
	}
	memories.keeps(last, false)
	refusals := 0
	for { // each request looks at some, so in the end one finds it
		got, _ := c.ask(makes(next(), 1))
		if got.Op == abi.OpObject {
			break
		}
		if refusals++; refusals > count/lookMost+1 {
			t.Fatalf("refused %d times: %s", refusals, got.Text)
		}
	}
	c.refused(makes(next(), 1), abi.ReasonQuota)
	s.m.mu.Lock()
	listed := slices.Clone(s.m.book.lingering)
	s.m.mu.Unlock()
	slices.Sort(listed)
	if n := s.instances(); n != count || len(listed) != count-1 || len(slices.Compact(listed)) != count-1 {
		t.Errorf("%d instances, lingering: %s", n, fmt.Sprint(listed))
	}
}
