package monitor

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ward/audit/event"
)

// restarted are the notices of the name server's restarts, by when they say it is.
func (s *system) restarted() (when []string) {
	for _, e := range s.audit.written() {
		if _, rest, ok := strings.Cut(e.Text, "; it is started again "); ok && e.Kind == event.Notice && e.Domain == nameServer {
			when = append(when, rest)
		}
	}
	return when
}

// namesEnds makes the name server end as soon as it runs for the nth time, be the machine as slow as it likes.
func (s *system) namesEnds(n int, status syscall.WaitStatus) {
	s.t.Helper()
	s.starts(nameServer, n)
	s.until("the start", func() bool { return s.m.domains[nameServer].state == stateRunning })
	s.m.mu.Lock()
	s.m.domains[nameServer].began = time.Now().Add(time.Hour)
	s.m.mu.Unlock()
	s.ends(nameServer, status)
}

// TestNamesKilledInARow: a name server that is killed from outside, again and again, is
// started again at once each time, more often than one that ends by itself is at all. The
// control is one that does: it comes later and later.
func TestNamesKilledInARow(t *testing.T) {
	for what, status := range map[string]syscall.WaitStatus{"killed": syscall.WaitStatus(syscall.SIGKILL), "ends": exit3} {
		t.Run(what, func(t *testing.T) {
			s := startSystem(t, func(c *Config) { withNames(c.Image) })
			times := 5
			if what == "killed" {
				times = restartLimit + 5
			}
			for n := range times {
				s.namesEnds(n+1, status)
			}
			s.starts(nameServer, times+1)
			at := s.restarted()
			later := slices.ContainsFunc(at, func(when string) bool { return when != "at once" })
			if len(at) != times || later != (what == "ends") {
				t.Errorf("it was started again %q", at)
			}
		})
	}
}

// TestNamesGivenUp: also a name server that is killed again and again, by itself or for want
// of memory, is given up at last.
func TestNamesGivenUp(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		withNames(c.Image)
		c.RestartDelay = time.Nanosecond
	})
	for n := range namesKills + restartLimit {
		s.namesEnds(n+1, syscall.WaitStatus(syscall.SIGKILL))
	}
	s.until("the end", func() bool { return s.m.domains[nameServer].state == stateEnded && !s.m.domains[nameServer].again })
	if e := s.audit.last(event.Notice); !strings.Contains(e.Text, "not started again") || e.Domain != nameServer {
		t.Errorf("%+v", e)
	}
}
