package monitor

import (
	"strings"
	"syscall"
	"testing"

	"ward/audit/event"
	"ward/image"
)

// A limit that a domain runs into is an event, and counted for `ward ps`.
func TestHits(t *testing.T) {
	s := startSystem(t, nil)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	d := s.m.domains[client]
	s.m.hit(d, Hit{Domain: client, Limit: LimitProcesses, Count: 3})
	e := s.audit.last(event.Quota)
	if e.Domain != client || e.Count != 3 || !strings.Contains(e.Text, "processes") || !strings.Contains(e.Text, "256") {
		t.Errorf("%+v", e)
	}
	s.m.hit(d, Hit{Domain: client, Limit: LimitMemory, Count: 1})
	if e = s.audit.last(event.Quota); !strings.Contains(e.Text, "memory") {
		t.Errorf("%+v", e)
	}
	d.def.Quota.Disk = 1 << 20
	s.m.hit(d, Hit{Domain: client, Limit: LimitDisk, Count: 2})
	if e = s.audit.last(event.Quota); e.Count != 2 || !strings.Contains(e.Text, "disk") || !strings.Contains(e.Text, "1048576 bytes") {
		t.Errorf("%+v", e)
	}
	s.m.hit(d, Hit{Domain: client, Limit: LimitDisk + 1, Count: 1}) // of no limit
	if d.hits.Processes != 3 || d.hits.Memory != 1 || d.hits.Disk != 2 {
		t.Errorf("%+v", d.hits)
	}
}

// What a child ran into last is recorded, though it is heard after its end: its
// end and this come by different channels.
func TestHitAfterTheEnd(t *testing.T) {
	f := startFamily(t, 0, func(*image.Image) {})
	f.creator.mu.Lock()
	id := f.creator.orders[1].Child
	f.creator.mu.Unlock()
	if err := f.creator.Signal(t.Context(), id, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.until("the end of the grandchild", func() bool { return f.m.children[id] == nil })
	f.creator.hits <- Hit{Domain: id, Limit: LimitProcesses, Count: 7}
	f.until("the record", func() bool { return f.audit.last(event.Quota).Count == 7 })
	if e := f.audit.last(event.Quota); e.Domain != id || !strings.Contains(e.Text, "at most 16 ") {
		t.Errorf("%+v", e)
	}
}
