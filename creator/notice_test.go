package creator

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/image"
)

// An aTeller is a creator that has nothing but its channel, and tells what the test likes.
type aTeller struct {
	t     *testing.T
	c     creator
	heard chan asked
}

// asked is what was asked of it, and how much it keeps afterwards.
type asked struct {
	op   op
	left int
}

// channel gives it a new channel, and returns the other end.
func (a *aTeller) channel() *os.File {
	a.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	a.c.fd = pair[1]
	return os.NewFile(uintptr(pair[0]), "monitor")
}

// serve serves its channel, until it is closed or somebody breaks the protocol.
func (a *aTeller) serve() (end func() error) {
	fd, over := a.c.fd, make(chan error, 1)
	go func() {
		for {
			m, _, err := receive(fd)
			if err == nil {
				_, err = a.c.dispatch(m, nil)
			}
			if err != nil {
				over <- err
				return
			}
			a.heard <- asked{m.op, len(a.c.notices.list)}
		}
	}()
	return func() error {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		err := <-over
		unix.Close(fd)
		return err
	}
}

// say makes it tell that a process has ended, or that one was killed for want of memory.
func (a *aTeller) say(o op, pid uint32) {
	a.t.Helper()
	if err := a.c.tell(message{op: o, domain: 1, pid: pid, arg: uint32(LimitMemory), cgroup: 2}); err != nil {
		a.t.Fatal(err)
	}
}

// soon is what comes next.
func soon[T any](t *testing.T, from <-chan T) (next T) {
	t.Helper()
	select {
	case next = <-from:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
	}
	return next
}

// told is all that a client was told until the channel's end.
func told(c *Client) (exits []Exit, hits []Hit) {
	for x := range c.Exits() {
		exits = append(exits, x)
	}
	for h := range c.Hits() {
		hits = append(hits, h)
	}
	return exits, hits
}

// TestToldAgain: what a monitor read, or did not come to read, and did not act on is told
// to the next one, once and in order; what it acted on is not.
func TestToldAgain(t *testing.T) {
	a := &aTeller{t: t, heard: make(chan asked, 8), c: creator{img: &image.Image{}}}
	conn := a.channel()
	for range 2 {
		a.say(opHit, 0)
	}
	a.say(opExited, 7)
	var read []uint64
	for range 2 { // by the first monitor, which dies now
		m, _, err := receive(int(conn.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, numberOf(&m))
	}

	second := Takeover(conn)
	end := a.serve()
	if got := soon(t, a.heard); got.op != opAgain {
		t.Fatalf("operation %d", got.op)
	}
	a.say(opExited, 8) // of now
	x := soon(t, second.Exits())
	if h := soon(t, second.Hits()); h.Number != read[0] || h.Count != 2 || h.Limit != LimitMemory || h.Domain != 1 {
		t.Errorf("first %+v", h)
	}
	if h := soon(t, second.Hits()); h.Number != read[1] || x.Number <= h.Number || x.PID != 7 || x.Status != syscall.WaitStatus(LimitMemory) || x.Refused != 2 {
		t.Errorf("then %+v, %+v", h, x)
	}
	second.Heard(read[0])
	second.Heard(0) // of a creator without numbers
	second.Heard(x.Number)
	for left := 4; left > 2; { // in one message, or two
		got := soon(t, a.heard)
		if left = got.left; got.op != opHeard {
			t.Fatalf("operation %d", got.op)
		}
	}
	end()
	if exits, hits := told(second); len(exits) != 1 || exits[0].PID != 8 || len(hits) != 0 {
		t.Errorf("the second was told %+v, %+v, too", exits, hits)
	}

	third := Takeover(a.channel())
	end = a.serve()
	if got := soon(t, a.heard); got.op != opAgain {
		t.Fatalf("operation %d", got.op)
	}
	end()
	if exits, hits := told(third); len(hits) != 1 || hits[0].Number != read[1] || len(exits) != 1 || exits[0].PID != 8 {
		t.Errorf("the third was told %+v, %+v", exits, hits)
	}
}

// What a creator told that has died is read where it is: nobody tells it again.
func TestToldByTheDead(t *testing.T) {
	a := &aTeller{t: t}
	conn := a.channel()
	a.say(opHit, 0)
	a.say(opExited, 7)
	unix.Close(a.c.fd)
	if exits, hits := told(Takeover(conn)); len(exits) != 1 || exits[0].PID != 7 || len(hits) != 1 {
		t.Errorf("%+v, %+v", exits, hits)
	}
}

// So is what one told that dies when it is asked to tell it again, before it does.
func TestToldByTheDying(t *testing.T) {
	a := &aTeller{t: t}
	conn := a.channel()
	a.say(opHit, 0)
	a.say(opExited, 7)
	c := Takeover(conn)
	if m, _, err := receive(a.c.fd); err != nil || m.op != opAgain {
		t.Fatalf("%+v, %v", m, err)
	}
	unix.Close(a.c.fd)
	if exits, hits := told(c); len(exits) != 1 || exits[0].PID != 7 || len(hits) != 1 {
		t.Errorf("%+v, %+v", exits, hits)
	}
}

// Nobody who hears nothing makes a creator keep more than so much, and the last is kept.
func TestToldTooMuch(t *testing.T) {
	a := &aTeller{t: t}
	conn := a.channel()
	for i := range maxNotices + 3 {
		a.say(opExited, uint32(i))
		if _, _, err := receive(int(conn.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	list := a.c.notices.list
	if len(list) != maxNotices || list[0].pid != 3 || list[maxNotices-1].pid != maxNotices+2 || !slices.IsSortedFunc(list, func(a, b message) int {
		return int(numberOf(&a) - numberOf(&b))
	}) {
		t.Errorf("%d are kept, from %d to %d", len(list), list[0].pid, list[len(list)-1].pid)
	}
}

// TestNumbersGrow: what a creator tells that takes over has higher numbers than all that
// one before told, though it knows nothing of them. Else a monitor would take it for what it
// has acted on already.
func TestNumbersGrow(t *testing.T) {
	var last uint64
	for range 2 {
		a := &aTeller{t: t}
		conn := a.channel()
		for range 3 {
			a.say(opExited, 7)
			m, _, err := receive(int(conn.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if n := numberOf(&m); n <= last {
				t.Errorf("number %d comes after %d", n, last)
			}
			last = max(last, numberOf(&m))
		}
	}
}

// Numbers that are none are a breach of the protocol.
func TestHeardProtocol(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("x", numberSize+1)} {
		a := &aTeller{t: t}
		if _, err := a.c.dispatch(message{op: opHeard, seq: 1, text: text}, nil); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
