package monitor

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

// keepingHolder notes what it is told to keep and to drop, in order.
type keepingHolder struct {
	fakeHolder
	mu   sync.Mutex
	said []string
}

func (h *keepingHolder) note(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, text)
}

func (h *keepingHolder) Put(name string, value []byte, _ ...*os.File) error {
	h.note("put " + name + " " + string(value))
	return nil
}
func (h *keepingHolder) Drop(name string) error { h.note("drop " + name); return nil }

// keepingFabric can be taken over as far as the monitor knows.
type keepingFabric struct{ *fakeFabric }

func (keepingFabric) Describe(any) (json.RawMessage, []*os.File) { return json.RawMessage("0"), nil }
func (keepingFabric) RestoreEndpoint(abi.DomainID, uint32, uint64, []*os.File) (Endpoint, error) {
	return nil, errors.ErrUnsupported
}
func (keepingFabric) RestoreRoute(json.RawMessage, Endpoint, Endpoint) (Route, error) {
	return nil, errors.ErrUnsupported
}
func (keepingFabric) RestoreGate(json.RawMessage, Route) (Gate, error) {
	return nil, errors.ErrUnsupported
}

// TestAttackRestartedServer: a domain keeps its end of a gate to a server that has ended
// and was started again. By that it goes on with a delegation whose uses the next
// monitor would count anew, or closes, when it lets the end go, what others have been
// given at the new server. The control: what ends with the new server is closed.
func TestAttackRestartedServer(t *testing.T) {
	grants := func(i *image.Image) {
		i.Grants = []image.Grant{{From: client, To: second, Entry: image.Entry{}, Verdict: image.Verdict{Allow: true, Policy: 0}}}
		i.Domains[server].Restart = image.RestartAlways
	}
	holder := &keepingHolder{}
	s := startSystem(t, func(c *Config) {
		c.Image, c.RestartDelay = changed(t, grants), time.Millisecond
		holder.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = holder, keepingFabric{c.Fabric.(*fakeFabric)}
	})
	from, to := s.domain(client), s.domain(second)
	seq := uint32(0)
	serve := func() { s.domain(server).ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"}) }
	lend := func() uint32 {
		seq++
		r := abi.LendRequest{To: "second", Entry: "t.Echo/Say", Lifetime: uint64(time.Hour), Uses: 3}
		from.send(abi.Control{Op: abi.OpLend, Seq: seq, Text: r.Encode()})
		for got := (abi.Control{}); got.Seq != seq; { // it is told what has ended, too
			if got, _ = from.read(); got.Seq == seq && got.Op != abi.OpLent {
				t.Fatalf("no delegation: %+v", got)
			}
		}
		told, _ := to.read()
		return told.Block
	}
	borrow := func(block uint32) abi.Control {
		seq++
		got, _ := to.ask(abi.Control{Op: abi.OpBorrow, Seq: seq, Block: block, Name: "server"})
		return got
	}
	// ends ends the server, and waits until the borrower is told what ends with it.
	ends := func() (block uint32) {
		t.Helper()
		s.m.mu.Lock()
		before := s.m.domains[server]
		s.m.mu.Unlock()
		if err := s.creator.Signal(t.Context(), server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for {
			c, _ := to.read()
			if c.Op == abi.OpLentEnded {
				block = c.Block
				break
			}
		}
		for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
			s.m.mu.Lock()
			runs := s.m.domains[server] != before && s.m.domains[server].state == stateRunning
			s.m.mu.Unlock()
			if runs {
				return block
			}
		}
	}
	serve()
	one := lend()
	if got := borrow(one); got.Op != abi.OpGate {
		t.Fatalf("no gate: %+v", got)
	}
	s.m.mu.Lock()
	var held *gate
	for g := range s.m.gates {
		held = g
	}
	s.m.mu.Unlock()

	if got := ends(); got != one {
		t.Fatalf("delegation %d has ended, not %d", got, one)
	}
	if got := borrow(one); got.Op != abi.OpRefused || got.Reason != abi.ReasonExpired {
		t.Errorf("by a delegation whose uses the ended server's gates count: %+v", got)
	}
	holder.mu.Lock()
	ended := slices.IndexFunc(holder.said, func(x string) bool {
		return strings.HasPrefix(x, "put lent ") && strings.Contains(x, "which served it")
	})
	closed := slices.IndexFunc(holder.said, func(x string) bool { return strings.HasPrefix(x, "drop route ") })
	holder.mu.Unlock()
	if ended < 0 || closed >= 0 && closed < ended {
		t.Errorf("that the delegation ends is kept as %d, that its routes are closed as %d", ended, closed)
	}

	serve()
	two := lend()
	if got := borrow(two); got.Op != abi.OpGate {
		t.Fatalf("no gate at the new server: %+v", got)
	}
	s.m.mu.Lock()
	l := s.m.lent[two]
	route := l.routes[0].(*fakeRoute)
	_, open := s.m.gates[held]
	s.m.endClosed(held, 0) // the old end is let go
	s.m.endClosed(held, 1)
	_, after := s.m.gates[held]
	lasts, isOpen := s.m.lasts(l), route.open
	s.m.mu.Unlock()
	if !open || after {
		t.Errorf("the old gate is there: %v, and after its ends were closed: %v", open, after)
	}
	if !lasts || !isOpen {
		t.Errorf("the delegation at the new server goes on: %v; its route is open: %v", lasts, isOpen)
	}
	if got := ends(); got != two {
		t.Errorf("the control: delegation %d has ended, not %d", got, two)
	}
}
