package monitor

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// graceful is a creator whose domains do not end by SIGTERM.
type graceful struct {
	*fakeCreator
	asked func()
}

func (c *graceful) Signal(ctx context.Context, d abi.DomainID, sig syscall.Signal) error {
	if sig == syscall.SIGTERM && c.asked != nil {
		c.asked()
		return nil
	}
	return c.fakeCreator.Signal(ctx, d, sig)
}

// TestMailboxDismissedReader: a reader that a reload stops, and from which it takes
// the mailbox, gets no end of a gate that is opened until it has ended. The control:
// one that is only stopped reads until then.
func TestMailboxDismissedReader(t *testing.T) {
	for _, reads := range []bool{false, true} {
		creator := &graceful{}
		s := mailSystem(t, func(c *Config) {
			creator.fakeCreator = c.Creator.(*fakeCreator)
			c.Creator, c.Grace = creator, time.Millisecond
			c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
		})
		c, r := s.domain(client), s.domain(server)
		if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
			t.Fatalf("receive: %+v", got)
		}
		s.posted(c, 1)
		s.letterbox(r)
		asked, ends := 0, 0
		s.m.mu.Lock()
		creator.asked = func() {
			asked++
			s.posted(c, 2)
			r.send(receive(2, "box"))
			for got, _ := r.read(); got.Seq != 2; got, _ = r.read() {
				if got.Op == abi.OpGate {
					ends++
				}
			}
			creator.asked = nil
		}
		s.m.mu.Unlock()
		_, err := s.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) {
			withMailbox(i)
			i.Domains[server].Start = image.Verdict{Policy: 1}
			if !reads {
				i.Objects[0].Read[server] = image.Verdict{Policy: abi.NoPolicy}
			}
		}))})
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if reads {
			want = 1
		}
		if asked != 1 || ends != want {
			t.Errorf("it reads: %v; it was asked to end %d times, and got %d ends then, want %d", reads, asked, ends, want)
		}
	}
}

// TestMailboxCopiesSurvive: what a busy reader has of writers that have left counts
// for the next monitor, too.
func TestMailboxCopiesSurvive(t *testing.T) {
	const files = 4
	if _, err := UnixSockets(); err != nil {
		t.Skipf("needs sock_diag of unix sockets: %v", err)
	}
	k := &aKeeper{}
	s := mailSystem(t, func(c *Config) {
		k.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric, c.Sockets = k, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}, UnixSockets
		c.Image.Domains[server].Quota.Files = files
	})
	c, r := s.domain(client), s.domain(server)
	if got, _ := r.ask(receive(1, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	var held []*os.File
	for i := range uint32(files / handPart) {
		w := s.posted(c, i+1)
		held = append(held, s.letterbox(r))
		w.Close()
	}
	s.swept()
	say(t, s.posted(c, 10), "a")
	s.m.mu.Lock()
	s.m.domains[box].box.reader = nil // it hands over nothing more
	s.m.mu.Unlock()

	next := s.next(k)
	next.mu.Lock()
	next.Sockets = UnixSockets
	next.sweep()
	if n := len(next.gates); n != len(held)+1 {
		t.Errorf("%d gates, want those that the reader has, and one", n)
	}
	next.mu.Unlock()
	if got, _ := s.do(next, server, r, receive(2, "box")); got.Op != abi.OpOK {
		t.Fatalf("receive: %+v", got)
	}
	if got, _ := s.do(next, server, r, serve(3, "t.Echo")); got.Op != abi.OpOK || got.Seq != 3 { // no end came
		t.Fatalf("beyond what the reader may have: %+v", got)
	}
	held[0].Close()
	next.mu.Lock()
	next.sweep()
	next.handAll()
	next.mu.Unlock()
	hears(t, s.letterbox(r), "a")
}
