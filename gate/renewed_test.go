package gate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// A domain publishes again at a new name server however long that takes to
// answer, rests longer and longer between two attempts, and begins again if there
// is yet another one.
func TestPublishesAgain(t *testing.T) {
	m := gatetest.NewMonitor(t)
	server := m.Domain("server")
	var left atomic.Int64 // attempts that fail yet; negative: nobody counts
	left.Store(-1)
	published := make(chan bool)
	m.Names = func(_, method string) error {
		if method != "Publish" || left.Load() < 0 {
			return nil
		}
		switch n := left.Add(-1); {
		case n < 0:
			published <- true
			return nil
		case n%2 == 0:
			return gate.Errorf(gate.Unavailable, "not now")
		}
		return gate.Errorf(gate.DeadlineExceeded, "too late")
	}
	rests := make(chan time.Duration, 64)
	defer gate.SetRest(func(_ context.Context, d time.Duration) error { rests <- d; return nil })()
	s, err := server.Start(t.Context(), iface, gate.HandlerFunc(echo))
	if err != nil {
		t.Fatal(err)
	}
	for _, attempts := range []int64{30, 1} {
		left.Store(attempts)
		m.Renew("server")
		if attempts == 30 {
			for last := time.Duration(0); last < time.Second; {
				next := <-rests
				if next < last || next > time.Second {
					t.Errorf("a rest of %v after one of %v", next, last)
				}
				last = next
			}
		}
		<-published
	}
	s.Close()
}

// Where a gate to the name server brings no answer, the next attempt takes another
// one: the first one's other end may be open where nobody reads it any more.
func TestPublishesByAnotherGate(t *testing.T) {
	m := gatetest.NewMonitor(t)
	server := m.Domain("server")
	var gates atomic.Int64 // to the name server
	m.Refuse = func(_ string, c *abi.Control) (abi.Reason, string) {
		if c.Op == abi.OpOpen && c.Interface == gate.NamesInterface {
			gates.Add(1)
		}
		return abi.ReasonNone, ""
	}
	var renewed atomic.Bool
	var attempts atomic.Int64
	again, end := make(chan int64, 1), make(chan bool)
	defer close(end)
	m.Names = func(_, method string) error {
		if method != "Publish" || !renewed.Load() {
			return nil
		}
		switch attempts.Add(1) {
		case 1: // is never answered
			<-end
		case 2:
			again <- gates.Load()
		}
		return nil
	}
	defer gate.SetRepublish(50 * time.Millisecond)()
	defer gate.SetRest(func(context.Context, time.Duration) error { return nil })()
	s, err := server.Start(t.Context(), iface, gate.HandlerFunc(echo))
	if err != nil {
		t.Fatal(err)
	}
	if n := gates.Load(); n != 1 {
		t.Fatalf("%d gates to publish", n)
	}
	renewed.Store(true)
	m.Renew("server")
	if n := <-again; n != 2 {
		t.Errorf("it is published over gate %d, not over a second one", n)
	}
	s.Close()
}
