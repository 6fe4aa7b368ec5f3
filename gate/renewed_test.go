package gate_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

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
