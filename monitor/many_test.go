package monitor

import (
	"fmt"
	"os"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// A question about all domains lists the sockets of the kernel as often as one
// about a single domain: with a list for each, `ward ps` of a thousand took
// longer than it may.
func TestManyDomainsOneSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the monitor answers root only")
	}
	const more = 300
	lists := 0
	var s *system
	s = startSystem(t, func(c *Config) {
		for i := range more {
			c.Image.Domains = append(c.Image.Domains, image.Domain{Name: fmt.Sprintf("more-%d", i), Program: "/x", Ring: image.Ring{Level: 3, Name: "user"}, Start: image.Verdict{Allow: true}})
		}
		c.Sockets = func() (map[uint64]bool, error) {
			lists++
			all := map[uint64]bool{}
			for g := range s.m.gates {
				all[g.inodes[0]], all[g.inodes[1]] = true, true
			}
			return all, nil
		}
	})
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	if got, _ := c.ask(open(2, "t.Echo")); got.Op != abi.OpGate {
		t.Fatalf("gate: %+v", got)
	}
	count := func(what func()) int {
		s.m.mu.Lock()
		lists = 0
		s.m.mu.Unlock()
		what()
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		return lists
	}
	n := count(func() {
		all, err := admin.PS(t.Context(), s.m.RunDir)
		if err != nil || len(all) < more {
			t.Errorf("%d domains, %v", len(all), err)
		}
	})
	one := count(func() {
		if _, err := admin.Describe(t.Context(), s.m.RunDir, "more-7"); err != nil {
			t.Error(err)
		}
	})
	// The monitor's own sweeps may come between.
	if n == 0 || n > more/10 || one == 0 || one > more/10 {
		t.Errorf("sockets listed %d times for all domains, %d times for one", n, one)
	}
}
