package creator

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// channelPair is the channel between a client and a creator that the test plays.
func channelPair(t *testing.T) (client, creator *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	client, creator = os.NewFile(uintptr(pair[0]), "monitor"), os.NewFile(uintptr(pair[1]), "creator")
	t.Cleanup(func() { creator.Close() })
	return client, creator
}

// fill sends until nothing fits any more, and returns how often.
func fill(f *os.File, m message) (n int) {
	for unix.Sendmsg(int(f.Fd()), m.encode(), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == nil {
		n++
	}
	return n
}

// TestManyAsk: more is asked at once than the channel holds, and each request makes a
// creator say more than its own answer. It reads nothing while it waits until that is read: so
// whoever asks must not keep the client from reading. The end of a domain with many
// children asks for that.
func TestManyAsk(t *testing.T) {
	const times = 3000
	conn, peer := channelPair(t)
	c := NewClient(conn)
	go func() {
		for {
			m, _, err := receive(int(peer.Fd()))
			if err != nil {
				return
			}
			send(int(peer.Fd()), message{op: opDone, seq: m.seq})
			send(int(peer.Fd()), message{op: opExited, domain: m.domain})
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range times {
			<-c.Exits()
		}
	}()
	var wait sync.WaitGroup
	for range times {
		wait.Go(func() {
			if err := c.Signal(context.Background(), 1, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	<-ended
}

// TestTakeoverOfFullChannel: a creator that told much while nobody read, of which it waits
// to be rid before it reads anything, and that has much to read, is taken over.
func TestTakeoverOfFullChannel(t *testing.T) {
	conn, peer := channelPair(t)
	asked := fill(conn, message{op: opSignal, seq: 1, domain: 1})
	fill(peer, message{op: opDone, seq: 1})
	again := make(chan bool)
	go func() {
		for range asked {
			if m, _, err := receive(int(peer.Fd())); err != nil || send(int(peer.Fd()), message{op: opDone, seq: m.seq}) != nil {
				break
			}
		}
		m, _, err := receive(int(peer.Fd()))
		again <- err == nil && m.op == opAgain
	}()
	Takeover(conn)
	if !<-again {
		t.Error("the creator is not asked to tell again")
	}
}

// TestHeardByWhoTold: a creator that has told no number is told none, be it of another
// creator's: it may be of a version that does not know what to do with one, and ends all
// domains then.
func TestHeardByWhoTold(t *testing.T) {
	conn, peer := channelPair(t)
	c := NewClient(conn)
	c.Heard(5)
	number := string(binary.LittleEndian.AppendUint64(nil, 7))
	if err := send(int(peer.Fd()), message{op: opExited, domain: 1, text: number}); err != nil {
		t.Fatal(err)
	}
	c.Heard((<-c.Exits()).Number)
	if m, _, err := receive(int(peer.Fd())); err != nil || m.op != opHeard || m.text != number {
		t.Errorf("the creator hears %x, %v", m.text, err)
	}
}

// TestAskNobody: whoever asks a creator that reads nothing, and has much to read, waits no longer
// than it wants to, nor does who comes after it: a stop goes on.
func TestAskNobody(t *testing.T) {
	conn, _ := channelPair(t)
	c := NewClient(conn)
	fill(conn, message{op: opSignal, seq: 1, domain: 1})
	ctx, cancel := context.WithCancel(context.Background())
	ends := make(chan error)
	for range 2 {
		go func() { ends <- c.Signal(ctx, 1, syscall.SIGKILL) }()
	}
	cancel()
	for range 2 {
		if err := <-ends; !errors.Is(err, context.Canceled) || errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}
}
