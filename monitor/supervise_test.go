package monitor

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// starts waits until a domain was started n times.
func (s *system) starts(d abi.DomainID, n int) {
	s.t.Helper()
	for end := time.Now().Add(wait); ; {
		got := 0
		s.creator.mu.Lock()
		for _, id := range s.creator.started {
			if id == d {
				got++
			}
		}
		alive := s.creator.ends[d] != nil
		s.creator.mu.Unlock()
		if got >= n && alive {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("domain %d was started %d times, want %d", d, got, n)
		}
		<-time.After(time.Millisecond)
	}
}

// ends makes a domain end.
func (s *system) ends(d abi.DomainID, status syscall.WaitStatus) {
	s.t.Helper()
	s.creator.mu.Lock()
	conn := s.creator.ends[d]
	delete(s.creator.ends, d)
	s.creator.mu.Unlock()
	conn.Close()
	s.creator.exits <- Exit{Domain: d, PID: 1000 + int(d), Status: status}
}

const (
	exit0 syscall.WaitStatus = 0
	exit3 syscall.WaitStatus = 3 << 8
)

// TestRestart: a domain that ended is started again as its `restart` says, and
// serves again; how it ended the last time is kept.
func TestRestart(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		c.RestartDelay = time.Millisecond
		c.Image.Domains[server].Restart = image.RestartAlways
		c.Image.Domains[second].Restart = image.RestartOnFailure
	})
	c := s.domain(client)
	for n := range 3 {
		srv := s.domain(server)
		srv.ask(serve(1, "t.Echo"))
		if got, _ := c.ask(open(uint32(n+1), "t.Echo")); got.Op != abi.OpGate {
			t.Fatalf("start %d: %+v", n, got)
		}
		s.ends(server, exit0)
		s.starts(server, n+2)
	}
	s.m.mu.Lock()
	d := s.m.domains[server]
	if d.restarts != 3 || d.reason != "ended with status 0" {
		t.Errorf("%d restarts, %q", d.restarts, d.reason)
	}
	s.m.mu.Unlock()

	s.ends(second, exit3)
	s.starts(second, 2)
	s.ends(second, exit0) // the control: no failure
	s.ends(client, exit3) // … and no restart
	s.until("the ends", func() bool {
		return s.m.domains[second].state == stateEnded && s.m.domains[client].state == stateEnded
	})
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.domains[second].again || s.m.domains[client].again || s.m.domains[client].reason != "ended with status 3" {
		t.Errorf("%+v", s.m.domains[client].life)
	}
}

// until waits for a state of the monitor.
func (s *system) until(what string, yes func() bool) {
	s.t.Helper()
	for end := time.Now().Add(wait); ; {
		s.m.mu.Lock()
		ok := yes()
		s.m.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// TestRestartLimit: a domain that ends as soon as it was started is given up,
// with a later start each time.
func TestRestartLimit(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		c.RestartDelay = time.Nanosecond
		c.Image.Domains[second].Restart = image.RestartAlways
	})
	for n := range restartLimit {
		s.ends(second, exit3)
		s.starts(second, n+2)
	}
	s.ends(second, exit3)
	s.until("the end", func() bool { return s.m.domains[second].state == stateEnded && !s.m.domains[second].again })
	if e := s.audit.last(event.Notice); !strings.Contains(e.Text, "not started again") || e.Domain != second {
		t.Errorf("%+v", e)
	}
}

// TestHostileStays: a domain that was killed for what it did is not started again.
func TestHostileStays(t *testing.T) {
	s := startSystem(t, func(c *Config) {
		c.RestartDelay = time.Millisecond
		c.Image.Domains[second].Restart = image.RestartAlways
	})
	s.m.mu.Lock()
	s.m.hostile(s.m.domains[second], "is a test")
	s.m.mu.Unlock()
	s.until("its end", func() bool { return s.m.domains[second].state == stateEnded })
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.domains[second].again {
		t.Error("it is started again")
	}
}

// TestNotifyMessages: what sd_notify says is read, and nothing of it reaches a
// terminal as it is.
func TestNotifyMessages(t *testing.T) {
	d := &domain{life: life{ready: make(chan struct{})}, def: &image.Domain{Notify: true}, state: stateRunning}
	d.checkReady()
	d.note([]byte("MAINPID=1\nREADY=0\nSTATUS=load\x1b[31ming \xff"))
	if d.isReady || d.says != "load[31ming " {
		t.Errorf("%q", d.says)
	}
	d.note([]byte("READY=1\nSTATUS=" + strings.Repeat("ä", maxSays)))
	if !d.isReady || len(d.says) > maxSays {
		t.Errorf("%v, %d bytes", d.isReady, len(d.says))
	}
	d.note([]byte("STOPPING=1"))
	if d.says != "stopping" {
		t.Errorf("%q", d.says)
	}
}
