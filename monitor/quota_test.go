package monitor

import (
	"strings"
	"testing"

	"ward/audit/event"
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
	if d.hits.Processes != 3 || d.hits.Memory != 1 {
		t.Errorf("%+v", d.hits)
	}
}
