package monitor

import (
	"net"
	"slices"
	"testing"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
)

// inLine has the gate of one user made, which is held, and another one wait for its turn;
// the routes of both are loaded.
func inLine(s *system, f *heldFabric, connect func() *net.UnixConn) (h *held, users []*net.UnixConn) {
	s.t.Helper()
	route, h := f.hold(&f.route), f.hold(&f.gate)
	users = append(users, connect())
	<-route.begun
	users = append(users, connect())
	s.until("it waits for its route, too", func() bool { return len(s.m.loads) == 2 })
	route.let <- nil
	<-h.begun
	s.until("its route is loaded, and it waits", func() bool {
		loaded := 0
		for u := range s.m.outside.users {
			if u.route != nil {
				loaded++
			}
		}
		return loaded == 2 && len(s.m.turns.asked) == 1
	})
	return h, users
}

// A user whose route was loaded, and who waits for the turn of its gate while the server
// is started again, has a gate to the new process: its route led to the one before.
func TestUserInLineServerAgain(t *testing.T) {
	s, f, _, connect := outsiders(t)
	h, users := inLine(s, f, connect)
	s.ends(server, exit0)
	s.starts(server, 2)
	s.domain(server).ok(serve(1, "t.Echo"))
	h.let <- nil
	for _, conn := range users {
		if got := answered(t, conn); got.Op != abi.OpGate {
			t.Errorf("answer: %+v", got)
		}
	}
	s.settles()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for g := range s.m.gates {
		if g.user != nil && f.ends[g.loaded][1] != s.m.domains[server].endpoint {
			t.Error("a gate leads to the process before")
		}
	}
}

// A user whose route dies with a change, as its interface has another method now, and
// who waits for the turn of its gate, gets one of the new interface.
func TestUserInLineOtherShape(t *testing.T) {
	s, f, path, connect := outsiders(t)
	h, users := inLine(s, f, connect)
	s.changes(func(i *image.Image) {
		i.Domains[server].Exports[0].Socket = path
		i.Interfaces[0].Methods = append(slices.Clone(i.Interfaces[0].Methods), image.Method{Name: "More"})
		for r := range i.Routes {
			if i.Routes[r].Interface == 0 {
				i.Routes[r].Methods = append(slices.Clone(i.Routes[r].Methods), image.MethodPolicy{})
			}
		}
	})
	h.let <- nil
	for _, conn := range users {
		if got := answered(t, conn); got.Op != abi.OpGate {
			t.Errorf("answer: %+v", got)
		}
	}
	s.settles()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for g := range s.m.gates {
		if g.user != nil && (g.loaded.(*fakeRoute).dead || !g.loaded.(*fakeRoute).open) {
			t.Error("a gate on a route by which nothing passes any more")
		}
	}
	for _, r := range s.m.stale {
		if !s.m.uses(r) {
			t.Error("a route is left that no gate uses")
		}
	}
}

// The route of a user who waits for the turn of its gate is kept as a change of the policy
// left it: the next monitor must know which buckets of rates its programs charge.
func TestUserInLineIsKept(t *testing.T) {
	s, f, path, connect := outsiders(t)
	h, users := inLine(s, f, connect)
	k := &aKeeper{}
	s.m.mu.Lock()
	s.m.keeper, s.m.restorer = k, &aFabric{s.fabric, map[uint32]Gate{}}
	s.m.mu.Unlock()
	s.changes(func(i *image.Image) {
		i.Domains[server].Exports[0].Socket = path
		i.Routes[2].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: i.Routes[2].Methods[0].Request.Permit, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}
	})
	s.m.mu.Lock()
	for u := range s.m.outside.users {
		if name := key(keptRoute, s.m.routeKeys[u.route]); u.route != nil && !slices.Contains(k.names(), name) {
			t.Errorf("%s is not kept: %q", name, k.names())
		}
	}
	s.m.mu.Unlock()
	h.let <- nil
	for _, conn := range users {
		answered(t, conn)
	}
	s.settles()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.keeper = nil
	for _, e := range k.kept {
		link.CloseAll(e.Files)
	}
}

// A user that has closed its gate and not its connection does not keep what a process
// of the server had that has ended: its endpoint cannot be closed before all routes to it are.
func TestUserKeepsNoEndpoint(t *testing.T) {
	s, f, _, connect := outsiders(t)
	conn := connect()
	if got := answered(t, conn); got.Op != abi.OpGate {
		t.Fatalf("answer: %+v", got)
	}
	s.m.mu.Lock()
	old := s.m.domains[server].endpoint
	s.m.Sockets = func() (map[uint64]bool, error) { return map[uint64]bool{}, nil } // nobody has an end of a gate
	s.m.mu.Unlock()
	s.m.sweepCalmly()
	s.ends(server, exit0)
	s.starts(server, 2)
	s.until("the endpoint before is closed", func() bool {
		_, err := old.(*fakeEndpoint).file.Stat()
		return err != nil
	})
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for r, ends := range f.ends {
		if ends[1] == old && r.(*fakeRoute).open {
			t.Error("a route to it is loaded still")
		}
	}
	if len(s.m.outside.users) != 1 {
		t.Errorf("%d users", len(s.m.outside.users))
	}
}
