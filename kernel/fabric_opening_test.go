package kernel

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// used is how many numbers of a pool are handed out.
func (p *pool) used() int {
	return int(p.next) - len(p.free) - len(p.dirty) - len(p.resting)
}

// used is how many gates a fabric, and the two ends of a test, have numbers of.
func (g *gateTest) used() [3]int {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	return [3]int{g.f.rows.used(), g.client.blocks.used(), g.server.blocks.used()}
}

// openHeld begins to open a gate, and holds it where it has its numbers and no lock;
// the result lets it go on and returns what comes of it.
func (g *gateTest) openHeld() (open func() (*Gate, error)) {
	g.t.Helper()
	before := g.used()[0]
	g.client.statusMu.Lock() // with which the verdicts of the block are reset
	var gate *Gate
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		gate, err = g.f.Open(g.route)
	}()
	for g.used() != [3]int{before + 1, before + 1, before + 1} {
		select {
		case <-done:
			g.t.Fatalf("it is opened: %v", err)
		default:
			runtime.Gosched()
		}
	}
	return func() (*Gate, error) {
		g.client.statusMu.Unlock()
		<-done
		return gate, err
	}
}

// While the kernel verifies the stubs of one gate the fabric does all else: it opens
// others, and ends them.
func TestOpenHoldsUpNobody(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8, Words: 1})
	open := g.openHeld()
	var ends [2]*Endpoint
	for i := range ends {
		var err error
		if ends[i], err = g.f.AddEndpoint(abi.DomainID(i), 0, 4, 4096); err != nil {
			t.Fatal(err)
		}
		defer ends[i].Close()
	}
	r, err := g.f.Load(g.route.spec, ends[0], ends[1])
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.f.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	other.Client.Close()
	other.Server.Close()
	if _, err := g.f.State(0); err != nil {
		t.Error(err)
	}
	if err := errors.Join(other.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	gate, err := open()
	if err != nil {
		t.Fatal(err)
	}
	gate.Client.Close()
	gate.Server.Close()
	if err := gate.Close(); err != nil {
		t.Error(err)
	}
}

// So it does while one gate waits for a grace period, as all numbers were given
// back of late. Who comes in the same case waits for the same one.
func TestGraceHoldsUpNobody(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 8, Words: 1})
	var more []*Gate
	if gate, err := g.f.Open(g.route); err != nil {
		t.Fatal(err)
	} else {
		more = append(more, gate, g.gate)
	}
	for _, gate := range more {
		gate.Client.Close()
		gate.Server.Close()
		gate.Close()
	}
	begun, over := make(chan struct{}, 2), make(chan struct{})
	g.f.mu.Lock()
	g.f.rows.grace = func() error {
		begun <- struct{}{}
		<-over
		return graceperiod()
	}
	g.f.mu.Unlock()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			gate, err := g.f.Open(g.route)
			if err != nil {
				t.Error(err)
				return
			}
			gate.Client.Close()
			gate.Server.Close()
		})
	}
	<-begun
	if _, err := g.f.State(0); err != nil {
		t.Error(err)
	}
	if _, err := g.f.Swap([]Change{{g.route, g.route.spec}}); err != nil {
		t.Error(err)
	}
	close(over)
	wg.Wait()
	if len(begun) > 0 {
		t.Error("two grace periods for what one is enough for")
	}
	if used := g.used(); used != [3]int{2, 2, 2} {
		t.Errorf("numbers in use: %v, want 2", used)
	}
	if _, err := g.f.Open(g.route); !errors.Is(err, errPoolEmpty) {
		t.Errorf("a third gate of two: %v", err)
	}
	if used := g.used(); used != [3]int{2, 2, 2} {
		t.Errorf("numbers in use after a gate that there was no room for: %v, want 2", used)
	}
}

// A number that was waited for in vain is not lost.
func TestGraceFails(t *testing.T) {
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	p := newPool(1)
	n, err := p.get(&mu)
	if err != nil {
		t.Fatal(err)
	}
	p.put(n)
	wrong := errors.New("no")
	p.grace = func() error { return wrong }
	if _, err := p.get(&mu); !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
	p.grace = func() error { return nil }
	if again, err := p.get(&mu); err != nil || again != n {
		t.Errorf("number %d, %v", again, err)
	}
}

// What becomes of the route while a gate is made holds for the gate: one that is
// closed or whose policy is taken away gets none, and nothing of it is left; one that is
// swapped gets one that is judged by the new policy.
func TestOpenMeanwhile(t *testing.T) {
	shut := echoImage()
	shut.Routes[0].Methods[0].Request = image.Decision{}
	spec, err := filter.Build(shut, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	call := message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, vint(1, 5))
	for _, c := range []struct {
		what   string
		change func(*gateTest) error
		opens  bool
		passes bool
	}{
		{"control: nothing", func(*gateTest) error { return nil }, true, true},
		{"it is closed", func(g *gateTest) error { return g.route.Close() }, false, false},
		{"its policy is taken away", func(g *gateTest) error {
			_, err := g.f.Swap([]Change{{g.route, nil}})
			return err
		}, false, false},
		{"it is swapped", func(g *gateTest) error { return g.route.Replace(spec) }, true, false},
		{"its endpoint is closed", func(g *gateTest) error { return errors.Join(g.client.Close(), g.client.kept()) }, true, true},
		{"its route and its endpoint are closed", func(g *gateTest) error {
			return errors.Join(g.route.Close(), g.client.Close(), g.client.kept())
		}, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8})
			g.gate.Close()
			open := g.openHeld()
			if err := c.change(g); err != nil {
				t.Error(err)
			}
			gate, err := open()
			switch {
			case c.opens && err != nil:
				t.Fatal(err)
			case !c.opens:
				if !errors.Is(err, errRouteGone) {
					t.Errorf("error %v", err)
				}
				if used := g.used(); used != [3]int{} {
					t.Errorf("numbers in use: %v", used)
				}
				return
			}
			g.gate = gate
			for _, f := range []*os.File{gate.Client, gate.Server} {
				if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
			}
			if passed := g.send(abi.Request, call) != nil; passed != c.passes {
				t.Errorf("a call passes: %v", passed)
			}
		})
	}
}

// Gates are opened and closed while their route is swapped and others are loaded
// and closed: nothing is left of them.
func TestOpenRace(t *testing.T) {
	const each = 60
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 6, Programs: 32})
	g.gate.Close()
	spec := g.route.spec
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range each {
				gate, err := g.f.Open(g.route)
				if err != nil {
					t.Error(err)
					return
				}
				gate.Client.Close()
				gate.Server.Close()
				if err := gate.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() { // routes that are closed while a gate is opened on them
			for range each / 4 {
				r, err := g.f.Load(spec, g.client, g.server)
				if err != nil {
					t.Error(err)
					return
				}
				var opening sync.WaitGroup
				opening.Go(func() {
					switch gate, err := g.f.Open(r); {
					case err == nil:
						gate.Client.Close()
						gate.Server.Close()
						gate.Close() // it may be closed with its route
					case !errors.Is(err, errRouteGone):
						t.Error(err)
					}
				})
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				opening.Wait()
			}
		})
	}
	wg.Go(func() {
		for range each / 4 {
			if err := g.route.Replace(spec); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if used := g.used(); used != [3]int{} {
		t.Errorf("numbers in use: %v", used)
	}
	if n := g.client.routes; n != 1 {
		t.Errorf("%d routes at an endpoint, want 1", n)
	}
	g.open()
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, vint(1, 5)))
}
