package monitor

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/objects"
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

// Likewise memory: what was made for an answer that is not sent ends.
func TestTooManyInFlightOfMemory(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, _ := c.gets(makes(1, 64), readWrite, 64)
	id := c.offers(offer(2, ref, cb, readOnly))
	s.fabric.admit(id)
	channel, other := s.fill(client, c), s.fill(server, srv)
	c.refused(makes(3, 64), abi.ReasonQuota)
	c.refused(openBoard(4, readOnly), abi.ReasonQuota)
	srv.refused(redeem(5, id, sb), abi.ReasonQuota)
	channel.full.Store(false)
	other.full.Store(false)
	s.m.mu.Lock()
	for d, want := range map[abi.DomainID]int{client: 1, server: 0} {
		if n := len(s.m.book.References(s.m.domains[d].owner())); n != want {
			t.Errorf("%d references of domain %d", n, d)
		}
	}
	s.m.mu.Unlock()
	s.instances()
	c.gets(makes(6, 64), readWrite, 64)
	srv.gets(openBoard(6, readWrite), readWrite, 1<<12)
	if len(s.creator.killed) > 0 {
		t.Error("somebody is killed")
	}
}

// Who does not read what it asked for is given no more memory, long before its
// channel is full: descriptors that nobody reads are few. What it has it reads.
func TestUnreadMemory(t *testing.T) {
	s := memorySystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	seq := uint32(0)
	send := func(ask abi.Control) {
		c.send(ask)
		s.until("it is answered", func() bool { return s.m.domains[client].requests.n == int(seq) })
	}
	full := func() bool {
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		return s.m.domains[client].unread(objectRoom)
	}
	for ref := uint64(1); !full() && ref < 400; ref++ {
		seq++
		send(openBoard(seq, readOnly))
		seq++
		send(drop(seq, ref))
	}
	seq++
	send(openBoard(seq, readOnly))
	for want := uint32(1); want <= seq; want++ {
		got, _ := c.read()
		switch ok := got.Op != abi.OpRefused; {
		case got.Seq != want:
			t.Fatalf("%d is answered with %+v", want, got)
		case want == seq && (ok || got.Reason != abi.ReasonQuota):
			t.Errorf("with %d answers unread: %+v", seq-1, got)
		case want < seq-2 && !ok:
			t.Errorf("with %d answers unread: %+v", want-1, got)
		}
	}
	if seq < objects.MaxReferences {
		t.Errorf("%d answers fill it", seq)
	}
	c.gets(openBoard(seq+1, readOnly), readOnly, 1<<12)
	srv.gets(openBoard(1, readWrite), readWrite, 1<<12)
}
