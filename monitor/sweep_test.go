package monitor

import (
	"errors"
	"sync/atomic"
	"testing"

	"ward/abi"
)

// A kernel that once cannot list sockets, as it is short of something, is asked again: ends
// that were closed are found. The control: one that never could is not.
func TestListsAgain(t *testing.T) {
	for _, worked := range []bool{true, false} {
		var fails atomic.Bool
		fails.Store(!worked)
		s := startSystem(t, func(c *Config) {
			c.Sockets = func() (map[uint64]bool, error) {
				if fails.Load() {
					return nil, errors.New("no memory")
				}
				return map[uint64]bool{}, nil
			}
		})
		c, srv := s.domain(client), s.domain(server)
		srv.ok(serve(1, "t.Echo"))
		open1 := func(seq uint32) {
			t.Helper()
			if got, _ := c.ask(open(seq, "t.Echo")); got.Op != abi.OpGate {
				t.Fatalf("no gate: %+v", got)
			}
			srv.read()
		}
		open1(1)
		s.m.sweepCalmly()
		fails.Store(true)
		open1(2)
		s.m.sweepCalmly()
		s.m.mu.Lock()
		if n := len(s.m.gates); worked && n != 1 || !worked && n != 2 {
			t.Errorf("worked before: %v; %d gates while it fails", worked, n)
		}
		s.m.mu.Unlock()
		fails.Store(false)
		s.m.sweepCalmly()
		s.m.mu.Lock()
		if n := len(s.m.gates); (n == 0) != worked {
			t.Errorf("worked before: %v; %d gates are left", worked, n)
		}
		s.m.mu.Unlock()
	}
}
