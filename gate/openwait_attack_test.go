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

// TestAttackPublishAgain: a domain that may publish an interface, and that the
// client may not call, publishes and withdraws it without end, so that the one who
// waits for another server asks the monitor as often. It rests, longer each time.
// The control: the server that it waits for comes, and it gets its gate.
func TestAttackPublishAgain(t *testing.T) {
	m := gatetest.NewMonitor(t)
	var there atomic.Bool
	m.Refuse = func(client string, c *abi.Control) (abi.Reason, string) {
		if client == "patient" && c.Op == abi.OpOpen && c.Interface == iface && !there.Load() {
			return abi.ReasonNotRunning, ""
		}
		return abi.ReasonNone, ""
	}
	rests := make(chan time.Duration)
	defer gate.SetRest(func(_ context.Context, d time.Duration) error { rests <- d; return nil })()
	patient, hostile, server := m.Domain("patient"), m.Domain("hostile"), m.Domain("server")
	opened := make(chan error, 1)
	go func() {
		c, err := patient.Open(context.Background(), iface, gate.Wait())
		if err == nil {
			c.Close()
		}
		opened <- err
	}()
	last := time.Duration(0)
	for range 12 {
		s, err := hostile.Start(t.Context(), iface, gate.HandlerFunc(echo))
		if err != nil {
			t.Fatal(err)
		}
		d := <-rests // it was refused
		if d <= last && last < time.Second {
			t.Errorf("it rests for %v after %v", d, last)
		}
		last = d
		s.Close()
	}
	if last != time.Second {
		t.Errorf("in the end it rests for %v", last)
	}
	there.Store(true)
	s, err := server.Start(t.Context(), iface, gate.HandlerFunc(echo))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		select {
		case <-rests: // asked before the server was there
			continue
		case err := <-opened:
			if err != nil {
				t.Error(err)
			}
		}
		return
	}
}
