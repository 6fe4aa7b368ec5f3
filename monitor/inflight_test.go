package monitor

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
)

// A fullChannel takes no descriptors while the kernel has too many on their way.
type fullChannel struct {
	channel
	full atomic.Bool
}

func (c *fullChannel) Try(msg []byte, files ...*os.File) error {
	if len(files) > 0 && c.full.Load() {
		return unix.ETOOMANYREFS
	}
	return c.channel.Try(msg, files...)
}

// fill makes the control channel of a domain one.
func (s *system) fill(id abi.DomainID, d *fakeDomain) *fullChannel {
	d.ask(abi.Control{Op: abi.OpUnserve, Seq: 1, Interface: "t.Echo"}) // it is listened to
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	c := &fullChannel{channel: s.m.domains[id].control}
	c.full.Store(true)
	s.m.domains[id].control = c
	return c
}

// What others leave unread does not make a domain hostile that asks for a gate: it
// is refused, and gets it later.
func TestTooManyInFlight(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	srv.ok(serve(1, "t.Echo"))
	channel := s.fill(client, c)
	got, _ := c.ask(open(1, "t.Echo"))
	srv.read()
	if got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota || !strings.Contains(got.Text, "try again") {
		t.Errorf("with too many descriptors on their way: %+v", got)
	}
	if e := s.audit.last(event.Notice); e.Domain != client || !strings.Contains(e.Text, "on their way") {
		t.Errorf("notice: %+v", e)
	}
	channel.full.Store(false)
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpGate {
		t.Errorf("later: %+v", got)
	}
	if len(s.creator.killed) > 0 {
		t.Error("it is killed")
	}
}
