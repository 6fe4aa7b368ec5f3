package gate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

const letters = "test.v1.Letters"

func newMailbox(t *testing.T) *gatetest.Monitor {
	m := gatetest.NewMonitor(t)
	m.Methods = map[string][]abi.ControlMethod{letters: {{Name: "Put", MaxRequest: 64 << 10}, {Name: "Take", MaxRequest: 64}}}
	m.Mailbox("box", letters)
	return m
}

// reading is a Receive that runs; what it got comes on got.
type reading struct {
	got  chan string
	stop context.CancelFunc
	err  chan error
}

func receives(t *testing.T, d *gate.Domain) *reading {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &reading{make(chan string), stop, make(chan error, 1)}
	go func() {
		r.err <- d.Receive(ctx, "box", func(ctx context.Context, method string, message []byte) error {
			peer, ok := gate.PeerFrom(ctx)
			if !ok {
				return errors.New("nobody has posted it")
			}
			select {
			case r.got <- peer.Name + " " + method + " " + string(message):
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(stop)
	return r
}

// ends ends it, and says whether it ended well.
func (r *reading) ends(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.err; err != nil {
		t.Errorf("receive: %v", err)
	}
}

func outbox(t *testing.T, d *gate.Domain) *gate.Outbox {
	t.Helper()
	o, err := d.OpenMailbox(t.Context(), letters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func posts(t *testing.T, o *gate.Outbox, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := o.Post(t.Context(), "Put", []byte(text)); err != nil {
			t.Fatalf("post %s: %v", text, err)
		}
	}
}

func gets(t *testing.T, r *reading, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-r.got:
			if got != w {
				t.Fatalf("got %q, want %q", got, w)
			}
		case err := <-r.err:
			t.Fatalf("receive ended: %v", err)
		}
	}
}

// TestMailbox: messages wait for a reader that comes later, in order; what comes
// while it reads comes at once; a reader after it reads on.
func TestMailbox(t *testing.T) {
	m := newMailbox(t)
	a := outbox(t, m.Domain("a"))
	posts(t, a, "1", "2", "3")
	reader := m.Domain("reader")
	r := receives(t, reader)
	gets(t, r, "a Put 1", "a Put 2", "a Put 3")
	b := outbox(t, m.Domain("b")) // comes while it is read
	posts(t, b, "4")
	gets(t, r, "b Put 4")
	if err := reader.Receive(t.Context(), "box", nil); gate.AsError(err).Code != gate.FailedPrecondition {
		t.Errorf("a second reader in one program: %v", err)
	}
	r.ends(t)
	posts(t, a, "5")
	if err := b.Post(t.Context(), "Take", []byte("6")); err != nil {
		t.Fatal(err)
	}
	r = receives(t, reader) // the same program again
	for _, want := range both(t, r) {
		if want != "a Put 5" && want != "b Take 6" {
			t.Errorf("got %q", want)
		}
	}
	r.ends(t)
	posts(t, a, "7")
	r = receives(t, m.Domain("reader")) // a new process
	gets(t, r, "a Put 7")
	r.ends(t)
}

func both(t *testing.T, r *reading) []string {
	t.Helper()
	var got []string
	for range 2 {
		select {
		case s := <-r.got:
			got = append(got, s)
		case err := <-r.err:
			t.Fatalf("receive ended: %v", err)
		}
	}
	return got
}

// TestMailboxOrder: what a writer's earlier processes posted comes before what
// its next one did, whatever others post meanwhile.
func TestMailboxOrder(t *testing.T) {
	m := newMailbox(t)
	const lives, each = 5, 20
	other := outbox(t, m.Domain("other"))
	for life := range lives {
		o, err := m.Domain("a").OpenMailbox(t.Context(), letters)
		if err != nil {
			t.Fatal(err)
		}
		for i := range each {
			posts(t, o, fmt.Sprint(life*each+i))
			posts(t, other, fmt.Sprint(life*each+i))
		}
		o.Close()
	}
	r := receives(t, m.Domain("reader"))
	next := map[string]int{}
	for range 2 * lives * each {
		var writer, method string
		var n int
		if _, err := fmt.Sscan(<-r.got, &writer, &method, &n); err != nil || n != next[writer] {
			t.Fatalf("%s: message %d, want %d (%v)", writer, n, next[writer], err)
		}
		next[writer]++
	}
	r.ends(t)
}

// TestMailboxFull: who posts more than is read gets ErrFull, at once; others do
// not notice; when it is read there is room.
func TestMailboxFull(t *testing.T) {
	m := newMailbox(t)
	a, b := outbox(t, m.Domain("a")), outbox(t, m.Domain("b"))
	n := fill(t, a)
	if n < 2 {
		t.Fatalf("there was room for %d messages", n)
	}
	posts(t, b, "x") // the control
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Room(ended); gate.AsError(err).Code != gate.Canceled {
		t.Errorf("room: %v", err)
	}
	r := receives(t, m.Domain("reader"))
	room := make(chan error, 1)
	go func() { room <- a.Room(t.Context()) }()
	var got int
	for range n + 1 {
		if s := <-r.got; strings.HasPrefix(s, "a ") {
			got++
		}
	}
	if err := <-room; err != nil || got != n {
		t.Errorf("%d of %d messages were read; room: %v", got, n, err)
	}
	posts(t, a, "y")
	gets(t, r, "a Put y")
	r.ends(t)
}

// fill posts until there is no room.
func fill(t *testing.T, o *gate.Outbox) int {
	t.Helper()
	big := make([]byte, 32<<10)
	for n := 0; ; n++ {
		err := o.Post(t.Context(), "Put", big)
		if errors.Is(err, gate.ErrFull) && gate.AsError(err).Code == gate.ResourceExhausted {
			return n
		}
		if err != nil || n > 1000 {
			t.Fatalf("after %d messages: %v", n, err)
		}
	}
}

// TestMailboxRenewed: after the monitor was replaced the reader asks again; what
// it has already it does not read twice, and who comes then is heard.
func TestMailboxRenewed(t *testing.T) {
	m := newMailbox(t)
	a := outbox(t, m.Domain("a"))
	r := receives(t, m.Domain("reader"))
	posts(t, a, "1")
	gets(t, r, "a Put 1")
	for range 3 {
		m.Renew("reader")
	}
	posts(t, a, "2", "3", "4")
	gets(t, r, "a Put 2", "a Put 3", "a Put 4")
	posts(t, outbox(t, m.Domain("b")), "5")
	gets(t, r, "b Put 5")
	// The monitor and the reader have each socket once.
	for limit := time.Now().Add(10 * time.Second); mostHeld(t) > 2; {
		if time.Now().After(limit) {
			t.Fatalf("a socket is held %d times", mostHeld(t))
		}
	}
	r.ends(t)
}

// mostHeld is how many descriptors of this process one socket has at most.
func mostHeld(t *testing.T) (most int) {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]int{}
	for _, n := range names {
		if what, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && strings.HasPrefix(what, "socket:") {
			held[what]++
			most = max(most, held[what])
		}
	}
	return most
}

// TestMailboxEnds: an error of the handler ends the reading, and takes only the
// message that it was for; a mailbox that may not be read is said to be so; a
// closed outbox takes nothing.
func TestMailboxEnds(t *testing.T) {
	m := newMailbox(t)
	a := outbox(t, m.Domain("a"))
	posts(t, a, "1", "2", "3")
	d := m.Domain("reader")
	mine := errors.New("mine")
	err := d.Receive(t.Context(), "box", func(_ context.Context, _ string, message []byte) error {
		if string(message) == "2" {
			return mine
		}
		return nil
	})
	if err != mine {
		t.Errorf("receive: %v", err)
	}
	r := receives(t, d)
	gets(t, r, "a Put 3")
	r.ends(t)

	err = d.Receive(t.Context(), "no-box", nil)
	if e := wantCode(t, err, gate.PermissionDenied); e.Message != "receive from no-box: default deny: no policy lets reader read a mailbox of this name" || !e.Denied() {
		t.Errorf("%+v", e)
	}
	_, err = d.OpenMailbox(t.Context(), "test.v1.None")
	wantCode(t, err, gate.NotFound)
	wantCode(t, a.Post(t.Context(), "None", nil), gate.Unimplemented)
	wantCode(t, a.Post(t.Context(), "Put", make([]byte, abi.MaxMessage)), gate.ResourceExhausted)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, a.Post(ended, "Put", nil), gate.Canceled)
	a.Close()
	wantCode(t, a.Post(t.Context(), "Put", nil), gate.Canceled)
}

// TestMailboxRenewedSlowly: a monitor that takes longer to answer than one attempt
// lasts does not end the reading: who reads asks until it is answered, resting
// longer and longer.
func TestMailboxRenewedSlowly(t *testing.T) {
	m := newMailbox(t)
	answers := make(chan bool)
	var slow atomic.Bool
	m.Refuse = func(_ string, c *abi.Control) (abi.Reason, string) {
		if c.Op == abi.OpReceive && slow.Load() {
			<-answers
		}
		return abi.ReasonNone, ""
	}
	r := receives(t, m.Domain("reader"))
	posts(t, outbox(t, m.Domain("a")), "1")
	gets(t, r, "a Put 1")
	defer gate.SetRepublish(time.Millisecond)()
	rests := make(chan time.Duration)
	defer gate.SetRest(func(_ context.Context, d time.Duration) error {
		select {
		case rests <- d:
		case <-answers:
		}
		return nil
	})()
	slow.Store(true)
	m.Renew("reader")
	for last := time.Duration(0); last < 100*time.Millisecond; {
		select {
		case d := <-rests:
			if d <= last {
				t.Errorf("a rest of %v after one of %v", d, last)
			}
			last = d
		case err := <-r.err:
			t.Fatalf("receive ended: %v", err)
		}
	}
	slow.Store(false)
	close(answers)
	posts(t, outbox(t, m.Domain("b")), "2")
	gets(t, r, "b Put 2")
	r.ends(t)
}

// TestMailboxChannelLost: who reads is told when it cannot hear of new writers any
// more; what waits stays.
func TestMailboxChannelLost(t *testing.T) {
	m := newMailbox(t)
	posts(t, outbox(t, m.Domain("a")), "1")
	d := m.Domain("reader")
	r := receives(t, d)
	gets(t, r, "a Put 1")
	m.Kill()
	if e := wantCode(t, <-r.err, gate.Unavailable); !strings.HasPrefix(e.Message, "receive from box: ") {
		t.Errorf("%+v", e)
	}
	wantCode(t, d.Receive(t.Context(), "box", nil), gate.Unavailable)
}

// TestMailboxMany: many goroutines post by one outbox while it is read: all
// arrives once.
func TestMailboxMany(t *testing.T) {
	m := newMailbox(t)
	r := receives(t, m.Domain("reader"))
	o := outbox(t, m.Domain("a"))
	const posters, each = 8, 50
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d-%d", p, i)
				for err := error(gate.ErrFull); errors.Is(err, gate.ErrFull); {
					if err = o.Post(t.Context(), "Put", []byte(text)); errors.Is(err, gate.ErrFull) {
						o.Room(t.Context())
					} else if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	seen := map[string]bool{}
	last := slices.Repeat([]int{-1}, posters)
	for range posters * each {
		s := <-r.got
		var p, i int
		if _, err := fmt.Sscanf(s, "a Put %d-%d", &p, &i); err != nil || seen[s] || i <= last[p] {
			t.Fatalf("%q, after %d of this one (%v)", s, last[p], err)
		}
		seen[s], last[p] = true, i
	}
	wg.Wait()
	r.ends(t)
}
