package monitor

import (
	"context"
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
