package monitor

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
)

// aKeeper keeps what it is given, as the holder does, and can be asked for it at
// any moment: as after the monitor died then.
type aKeeper struct {
	fakeHolder
	mu   sync.Mutex
	kept []Kept
	dies func(name string) bool // … before this is kept or dropped, and all after it
	dead bool
}

// diesBefore says before what the monitor dies.
func (k *aKeeper) diesBefore(is func(name string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dies = is
}

func (k *aKeeper) lost(name string) bool {
	k.dead = k.dead || k.dies != nil && k.dies(name)
	return k.dead
}

func (k *aKeeper) Put(name string, value []byte, files ...*os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost("put " + name) {
		return nil
	}
	k.forget(name)
	e := Kept{Name: name, Value: slices.Clone(value)}
	for _, f := range files {
		again, err := dup(f)
		if err != nil {
			return err
		}
		e.Files = append(e.Files, again)
	}
	k.kept = append(k.kept, e)
	return nil
}

func (k *aKeeper) Drop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.lost("drop " + name) {
		k.forget(name)
	}
	return nil
}

func (k *aKeeper) forget(name string) {
	k.kept = slices.DeleteFunc(k.kept, func(e Kept) bool {
		if e.Name == name {
			link.CloseAll(e.Files)
		}
		return e.Name == name
	})
}

// names are those of what is kept.
func (k *aKeeper) names() (all []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.kept {
		all = append(all, e.Name)
	}
	return all
}

// aFabric can be taken over: gates are found again by their number.
type aFabric struct {
	*fakeFabric
	gates map[uint32]Gate
}

func (f *aFabric) Open(r Route) (Gate, error) {
	g, err := f.fakeFabric.Open(r)
	if err == nil {
		f.gates[g.Index()] = g
	}
	return g, err
}

func (f *aFabric) Describe(x any) (json.RawMessage, []*os.File) {
	switch x := x.(type) {
	case Endpoint:
		return nil, []*os.File{x.Page()}
	case Gate:
		b, _ := json.Marshal(x.Index())
		return b, nil
	}
	return json.RawMessage("0"), nil
}

func (f *aFabric) RestoreEndpoint(abi.DomainID, uint32, uint64, []*os.File) (Endpoint, error) {
	return f.Endpoint(0, 0, 0, 0)
}

func (f *aFabric) RestoreRoute(json.RawMessage, Endpoint, Endpoint) (Route, error) {
	return &fakeRoute{open: true}, nil
}

func (f *aFabric) RestoreGate(state json.RawMessage, _ Route) (Gate, error) {
	var n uint32
	err := json.Unmarshal(state, &n)
	return f.gates[n], err
}

// keptMemory is a system whose monitor can be followed by another one.
func keptMemory(t *testing.T) (*system, *aKeeper) {
	keeper := &aKeeper{}
	s := memorySystem(t, func(c *Config) {
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
	})
	return s, keeper
}

// next makes the monitor that comes after this one died. Nobody but who calls
// this does anything with it.
func (s *system) next(k *aKeeper) *Monitor {
	s.t.Helper()
	s.m.mu.Lock()
	img := s.m.Image
	s.m.mu.Unlock()
	return s.nextOf(k, img, nil)
}

// nextOf makes it of the image that was kept, and of that which was to come.
func (s *system) nextOf(k *aKeeper, img *image.Image, coming *os.File) *Monitor {
	s.t.Helper()
	s.m.mu.Lock()
	fabric := s.m.Fabric
	s.m.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	cfg := Config{Image: img, Sealed: sealed(s.t, img), Next: coming, RunDir: s.t.TempDir(), Fabric: fabric, Creator: s.creator, Audit: s.audit, Holder: &aKeeper{}, Memories: &fakeMemories{}}
	for _, e := range k.kept {
		for i, f := range e.Files {
			again, err := dup(f)
			if err != nil {
				s.t.Fatal(err)
			}
			e.Files = slices.Clone(e.Files)
			e.Files[i] = again
		}
		cfg.Kept = append(cfg.Kept, e)
	}
	m, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resumeObjects()
	if err := m.book.Check(); err != nil {
		s.t.Error(err)
	}
	return m
}

// do lets a domain ask something of a monitor that does not listen.
func (s *system) do(m *Monitor, id abi.DomainID, d *fakeDomain, c abi.Control) (abi.Control, []*os.File) {
	s.t.Helper()
	m.mu.Lock()
	m.domains[id].requests.renewed = true
	m.handle(m.domains[id], &c, nil)
	m.mu.Unlock()
	return d.read()
}

// TestMemorySurvives: the next monitor has the memory, the references and what
// is on its way, and answers what was asked.
func TestMemorySurvives(t *testing.T) {
	s, k := keptMemory(t)
	c, srv := s.domain(client), s.domain(server)
	cb, sb := s.joined(c, srv)
	ref, f := c.gets(makes(1, 64), readWrite, 64)
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	write, _ := c.gets(makes(2, 64), readWrite, 64)
	sent, waits := c.offers(offer(3, ref, cb, readOnly)), c.offers(offer(4, write, cb, readWrite))
	s.fabric.admit(sent)
	srv.gets(openBoard(1, readWrite), readWrite, 1<<12)
	gone, _ := c.gets(makes(5, 64), readWrite, 64)
	c.ok(drop(6, gone))

	m := s.next(k)
	for _, o := range m.book.OffersOf(m.domains[client].owner()) {
		if o.To != uint32(server) {
			t.Errorf("%+v counts for another receiver", o)
		}
	}
	// Each is told again what it asked for, with the number of its request.
	for _, want := range []struct {
		seq uint32
		ref uint64
	}{{1, ref}, {2, write}} {
		got, files := c.read()
		c.isObject(&got, files, readWrite, 64)
		if got.Seq != want.seq || got.Handle != want.ref {
			t.Errorf("told again: %+v, want %+v", got, want)
		}
	}
	if got, _ := c.read(); got.Op != abi.OpOK || got.Seq != 4 || got.Handle != waits {
		t.Errorf("told again: %+v", got)
	}
	if got, files := srv.read(); got.Seq != 1 {
		t.Errorf("told again: %+v", got)
	} else {
		srv.isObject(&got, files, readWrite, 1<<12)
	}
	// … and asks again in vain.
	m.mu.Lock()
	m.domains[client].requests.renewed = true
	if !m.domains[client].requests.again(1) || !m.domains[client].requests.again(4) || m.domains[client].requests.again(6) {
		t.Error("what was answered is heard again, or what was not is not")
	}
	m.mu.Unlock()

	got, files := s.do(m, server, srv, redeem(7, sent, sb))
	srv.isObject(&got, files, readOnly, 64)
	b := make([]byte, 4)
	if _, err := files[0].ReadAt(b, 0); err != nil || string(b) != "kept" {
		t.Errorf("it reads %q, %v", b, err)
	}
	if got, _ := s.do(m, client, c, offer(8, ref, cb, readWrite)); got.Op != abi.OpRefused || got.Reason != abi.ReasonState {
		t.Errorf("the next monitor does not know that it is sealed: %+v", got)
	}
	if got, _ := s.do(m, server, srv, redeem(9, waits, sb)); got.Op != abi.OpRefused {
		t.Errorf("what was not admitted: %+v", got)
	}
	if got, _ := s.do(m, client, c, drop(10, gone)); got.Op != abi.OpOK { // the monitor before may not have answered
		t.Errorf("dropped again: %+v", got)
	}
	if got, _ := s.do(m, client, c, makes(11, 8)); got.Op != abi.OpObject || got.Handle <= gone {
		t.Errorf("a new reference, not one of before: %+v", got)
	}
	if n := len(m.book.memory); n != 4 {
		t.Errorf("%d instances", n)
	}
}

// TestMemoryBetween: a monitor that dies between any two steps leaves nothing
// that is lost or is had twice: what a domain was not told it is told by the next
// monitor, or it asks again and gets it then.
func TestMemoryBetween(t *testing.T) {
	for _, test := range []struct {
		dies string // before this
		want string // of redeem: told; asks: it must ask again
	}{
		{"put reference 1 1", "asks"},
		{"take", "told"}, // … the handle is taken in the kernel
		{"drop offer ", "told"},
		{"never", "told"},
	} {
		t.Run(test.dies, func(t *testing.T) {
			s, k := keptMemory(t)
			c, srv := s.domain(client), s.domain(server)
			cb, sb := s.joined(c, srv)
			ref, _ := c.gets(makes(1, 64), readWrite, 64)
			id := c.offers(offer(2, ref, cb, readOnly))
			s.fabric.admit(id)
			c.ok(drop(3, ref))
			k.mu.Lock()
			k.dies = func(name string) bool {
				return strings.HasPrefix(name, test.dies) || test.dies == "take" && strings.HasPrefix(name, "drop ")
			}
			k.mu.Unlock()
			if test.want == "asks" || test.dies == "take" { // the kernel knows nothing of what comes after the death
				s.m.mu.Lock()
				s.m.handles = frozenHandles{s.m.handles}
				s.m.mu.Unlock()
			}
			if test.want == "asks" {
				srv.send(redeem(1, id, sb))
				srv.read()
			} else {
				srv.gets(redeem(1, id, sb), readOnly, 64)
			}
			m := s.next(k)
			if test.want == "told" {
				got, files := srv.read()
				srv.isObject(&got, files, readOnly, 64)
			}
			got, files := s.do(m, server, srv, redeem(2, id, sb))
			if test.want == "asks" {
				srv.isObject(&got, files, readOnly, 64)
			} else if got.Op != abi.OpRefused {
				t.Errorf("redeemed twice: %+v", got)
			}
			if state, _ := s.fabric.Handle(id); state != HandleGone {
				t.Errorf("in the kernel: %v", state)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if n := len(m.book.Instances()); n != 1 || len(m.book.References(m.domains[server].owner())) != 1 {
				t.Errorf("%d instances, references: %+v", n, m.book.References(m.domains[server].owner()))
			}
		})
	}
}

// frozenHandles are those of a monitor that has died: they stay as they are.
type frozenHandles struct{ Handles }

func (frozenHandles) TakeHandle(uint64) (bool, error) { return true, nil }
func (frozenHandles) ForgetHandle(uint64) error       { return nil }

// TestMemoryUnfinished: what a monitor had begun to make, or to end, is ended by
// the next one.
func TestMemoryUnfinished(t *testing.T) {
	for _, dies := range []string{"put reference ", "drop object "} {
		t.Run(dies, func(t *testing.T) {
			s, k := keptMemory(t)
			c := s.domain(client)
			if dies == "drop object " {
				ref, _ := c.gets(makes(1, 64), readWrite, 64)
				k.diesBefore(func(name string) bool { return strings.HasPrefix(name, dies) })
				c.ok(drop(2, ref))
			} else {
				k.diesBefore(func(name string) bool { return strings.HasPrefix(name, dies) })
				c.gets(makes(1, 64), readWrite, 64)
			}
			if !slices.ContainsFunc(k.names(), func(name string) bool { return strings.HasPrefix(name, keptInstance) }) {
				t.Fatalf("kept: %q", k.names())
			}
			m := s.next(k)
			if n := len(m.book.Instances()) + len(m.book.memory); n != 0 {
				t.Errorf("%d instances", n)
			}
			if got, _ := s.do(m, client, c, makes(3, 64)); got.Op != abi.OpObject {
				t.Errorf("asked again: %+v", got)
			}
		})
	}
}
