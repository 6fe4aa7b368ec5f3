package kernel

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// numberOf is the kernel's number of what judges a client's requests.
func numberOf(t *testing.T, l *loaded) ebpf.ProgramID {
	t.Helper()
	if l == nil || l.program == nil {
		t.Fatal("there is no program, or it is not known which")
	}
	info, err := l.program.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("a program without a number")
	}
	return id
}

// nextServer loads the route of a gateTest to the server's next process.
func (g *gateTest) nextServer() {
	g.t.Helper()
	spec := g.route.spec
	if err := g.route.Close(); err != nil {
		g.t.Fatal(err)
	}
	next, err := g.f.AddEndpoint(1, 0, 16, 64<<10)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { next.Close() })
	if g.route, err = g.f.Load(spec, g.client, next); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { g.route.Close() })
}

// What judges a client's requests outlives its route while it is held, and judges those to
// the server's next process. The control: without that another one is verified.
func TestHeldIsNotVerifiedAgain(t *testing.T) {
	for _, holds := range []bool{true, false} {
		g := newGateTest(t, stateImage(image.Rule{}, limited(hour, 1)), FabricConfig{Gates: 4, Programs: 8, Words: 1, Buckets: 8})
		before := numberOf(t, g.route.programs[abi.Request])
		h := g.route.HoldRequests()
		if h == nil {
			t.Fatal("nothing is held")
		}
		if !holds {
			h.Release()
		}
		g.nextServer()
		if after := numberOf(t, g.route.programs[abi.Request]); (after == before) != holds {
			t.Errorf("held %v: program %d, then %d", holds, before, after)
		}
		if h.Judges(g.route) != holds {
			t.Errorf("held %v: it judges the route: %v", holds, !holds)
		}
		g.open()
		if got := g.send(abi.Request, unary(1, 1, 1)); got == nil {
			t.Errorf("held %v: what is permitted is denied", holds)
		}
		if got := g.send(abi.Request, unary(2, 1, 1)); got != nil {
			t.Errorf("held %v: more passed than the rate permits", holds)
		}
		h.Release()
		h.Release() // which changes nothing: the route's is loaded still
		numberOf(t, g.route.programs[abi.Request])
		if err := g.route.Close(); err != nil {
			t.Fatal(err)
		}
		if len(g.f.shared.byKey) != 0 {
			t.Errorf("held %v: %d programs are left", holds, len(g.f.shared.byKey))
		}
		for name, b := range g.f.buckets.byName {
			if b.uses != 0 {
				t.Errorf("held %v: %s is charged by %d programs that are gone", holds, name, b.uses)
			}
		}
	}
}

// Of a route that is closed nothing can be held.
func TestNothingHeldOfClosed(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	if err := g.route.Close(); err != nil {
		t.Fatal(err)
	}
	if h := g.route.HoldRequests(); h != nil {
		t.Error("something is held")
	}
}

// Another process takes over what is held: the route to the server's next process has the
// program that was verified before, and what was charged stays charged. Another policy has one of its
// own. What another version made, or has no whole hash, is refused, and so is the same once more.
func TestHeldIsTakenOver(t *testing.T) {
	cfg := FabricConfig{Gates: 4, Programs: 8, Words: 1, Buckets: 8}
	img := stateImage(image.Rule{}, limited(hour, 1))
	g := newGateTest(t, img, cfg)
	g.mustSend(abi.Request, unary(1, 1, 1)) // all that the rate permits
	before := numberOf(t, g.route.programs[abi.Request])
	h := g.route.HoldRequests()
	state, program, err := h.Describe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	files, clientFiles := dupAll(t, g.f.Files()), dupAll(t, g.client.Files())
	if err := g.route.Close(); err != nil { // as if the process had died
		t.Fatal(err)
	}
	h.Release()

	f, err := RestoreFabric(cfg, files, 100, state.Buckets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	client, err := f.RestoreEndpoint(0, 0, 0, clientFiles)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	refused := func(what string, change func(*HeldState)) error {
		t.Helper()
		s := state
		change(&s)
		_, err := f.RestoreHeld(s, client, program)
		if err == nil {
			t.Errorf("%s is taken over", what)
		}
		return err
	}
	if err := refused("what another version made", func(s *HeldState) { s.Made = "0" }); !errors.Is(err, ErrOtherVersion) {
		t.Errorf("another version: %v", err)
	}
	refused("what has half a hash", func(s *HeldState) { s.Content = s.Content[:16] })
	refused("what has more than a hash", func(s *HeldState) { s.Content = append(s.Content[:32:32], 0) })
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	if _, err := f.RestoreHeld(state, client, null); err == nil {
		t.Error("what is no program is taken over")
	}
	held, err := f.RestoreHeld(state, client, program)
	if err != nil {
		t.Fatal(err)
	}
	refused("what is held already", func(*HeldState) {})
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	other, err := filter.Build(stateImage(image.Rule{}, limited(hour, 2)), 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*filter.Spec{other, spec} {
		server, err := f.AddEndpoint(1, 0, 16, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		r, err := f.Load(s, client, server)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if after := numberOf(t, r.programs[abi.Request]); (after == before) != (s == spec) {
			t.Errorf("the same policy %v: program %d, then %d", s == spec, before, after)
		}
		g.f, g.route, g.client = f, r, client
	}
	g.open()
	g.mustDeny(abi.Request, unary(2, 1, 1), abi.ReasonRate) // it was charged before
	held.Release()
}
