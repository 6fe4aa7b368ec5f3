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

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// A holdingFabric holds programs: one for each policy of a route, as the kernel's does, of
// whatever process of the server.
type holdingFabric struct {
	aFabric
	mu       sync.Mutex
	routes   map[Route]uint32
	held     []*fakeHeld
	restored []Endpoint // of whom something was taken over
	refuses  error      // what is to be taken over
}

type fakeHeld struct {
	route    uint32
	img      *image.Image
	released int
}

func (h *fakeHeld) Describe() (json.RawMessage, *os.File, error) {
	null, err := os.Open(os.DevNull)
	return json.RawMessage(`"held"`), null, err
}

func (h *fakeHeld) Release() { h.released++ }

func (f *holdingFabric) Load(img *image.Image, route uint32, atoms Atoms, client, server Endpoint) (Route, error) {
	r, err := f.fakeFabric.Load(img, route, atoms, client, server)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[r] = route
	return r, err
}

func (f *holdingFabric) Hold(r Route, now Held) Held {
	f.mu.Lock()
	defer f.mu.Unlock()
	img := r.(*fakeRoute).img
	if h, ok := now.(*fakeHeld); ok && h.img == img {
		return now
	}
	h := &fakeHeld{route: f.routes[r], img: img}
	f.held = append(f.held, h)
	return h
}

func (f *holdingFabric) RestoreHeld(state json.RawMessage, client Endpoint, program *os.File) (Held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(state) != `"held"` || program == nil || f.refuses != nil {
		return nil, errors.Join(errors.New("not what was held"), f.refuses)
	}
	f.restored = append(f.restored, client)
	return &fakeHeld{}, nil
}

// released are how often each of what was held was released.
func (f *holdingFabric) released() (times []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.held {
		times = append(times, h.released)
	}
	return times
}

// programs are the names under which the holder has any.
func (k *aKeeper) programs() []string {
	return slices.DeleteFunc(k.names(), func(name string) bool { return !strings.HasPrefix(name, keptProgram) })
}

// holding is a system in which server has published at a name server.
func holding(t *testing.T) (*system, *holdingFabric, *aKeeper) {
	keeper, fabric := &aKeeper{}, &holdingFabric{routes: map[Route]uint32{}}
	s := startSystem(t, func(c *Config) {
		withNames(c.Image)
		c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
		keeper.fakeHolder = c.Holder.(fakeHolder)
		fabric.aFabric = aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
		c.Holder, c.Fabric = keeper, fabric
	})
	s.domain(nameServer).ask(serve(1, namesInterface))
	publisher := s.domain(server)
	publisher.ask(serve(1, "t.Echo"))
	if got, _ := publisher.ask(open(2, namesInterface)); got.Op != abi.OpGate {
		t.Fatalf("no gate to the name server: %+v", got)
	}
	if got, _ := s.domain(client).ask(open(1, "t.Echo")); got.Op != abi.OpGate {
		t.Fatalf("no gate to the server: %+v", got)
	}
	return s, fabric, keeper
}

// What judges a client's requests to the name server is held, and kept for the next
// monitor, from its first gate on until it ends, whatever becomes of the name server; of routes to others nothing is.
func TestHeldWhileClientRuns(t *testing.T) {
	s, fabric, keeper := holding(t)
	want := []string{key(keptProgram, uint32(server))}
	if len(fabric.held) != 1 || fabric.held[0].route != namesRoute || !slices.Equal(keeper.programs(), want) {
		t.Fatalf("held: %+v; kept: %q, want %q", fabric.held, keeper.programs(), want)
	}
	s.ends(nameServer, syscall.WaitStatus(syscall.SIGKILL))
	s.starts(nameServer, 2)
	s.until("the route to the next one", func() bool {
		r := s.m.loaded[namesRoute]
		return r != nil && len(s.m.loads) == 0 && s.m.domains[nameServer].state == stateRunning
	})
	if n := fabric.get(&fabric.loads); n != 3 {
		t.Errorf("%d routes were loaded, want two, and one to the next name server", n)
	}
	if times := fabric.released(); !slices.Equal(times, []int{0}) || !slices.Equal(keeper.programs(), want) {
		t.Errorf("released %v times while its client runs; kept: %q", times, keeper.programs())
	}
	s.ends(server, exit0)
	s.until("the end", func() bool { return s.m.domains[server].state == stateEnded })
	if times := fabric.released(); !slices.Equal(times, []int{1}) || len(keeper.programs()) != 0 {
		t.Errorf("released %v times when its client has ended; kept: %q", times, keeper.programs())
	}
}

// The next monitor has what was held, with the endpoint of whom it is. What it cannot take over, or
// of whom it is has ended, it forgets, and goes on.
func TestHeldIsForTheNextMonitor(t *testing.T) {
	s, fabric, keeper := holding(t)
	next := s.next(keeper)
	if h := next.domains[server].early.held; h == nil || len(fabric.restored) != 1 || fabric.restored[0] != next.domains[server].endpoint {
		t.Errorf("the next monitor holds %v, of %v", h, fabric.restored)
	}
	if next.domains[client].early.held != nil {
		t.Error("it holds something of who has no gate to the name server")
	}

	fabric.refuses = errors.New("another version")
	next = s.next(keeper)
	if next.domains[server].early.held != nil {
		t.Error("it holds what it cannot take over")
	}
	fabric.refuses = nil

	keeper.mu.Lock() // as if the monitor before had died between keeping the end and dropping this
	for i, e := range keeper.kept {
		if e.Name == key(keptNow, uint32(server)) {
			var now nowRecord
			if err := json.Unmarshal(e.Value, &now); err != nil {
				t.Fatal(err)
			}
			now.State = stateEnded
			keeper.kept[i].Value, _ = json.Marshal(now)
		}
	}
	keeper.mu.Unlock()
	next = s.next(keeper)
	if next.domains[server].early.held != nil {
		t.Error("it holds something of who has ended")
	}
}

// After a change of the policy that is held which it has put into force.
func TestHeldIsOfThePolicyInForce(t *testing.T) {
	s, fabric, keeper := holding(t)
	img := changed(t, func(i *image.Image) {
		withNames(i)
		i.Routes[namesRoute].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.False}}}}}}
	})
	if _, err := s.ask(&admin.Change{Image: sealed(t, img)}); err != nil {
		t.Fatal(err)
	}
	s.m.mu.Lock()
	now, _ := s.m.domains[server].early.held.(*fakeHeld)
	inForce := s.m.Image
	s.m.mu.Unlock()
	if now == nil || now.img != inForce || now.released != 0 || !slices.Equal(fabric.released(), []int{1, 0}) {
		t.Errorf("held: %+v; released %v times", now, fabric.released())
	}
	if want := []string{key(keptProgram, uint32(server))}; !slices.Equal(keeper.programs(), want) {
		t.Errorf("kept: %q, want %q", keeper.programs(), want)
	}
}
