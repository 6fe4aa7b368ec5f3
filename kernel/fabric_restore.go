package kernel

import (
	"fmt"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
)

// A fabric can be taken over by another process while its gates carry
// messages: what enforces the policy is in the kernel, and lives as long as
// somebody holds the maps (Fabric.Files, Endpoint.Files). The process that
// takes over makes Go's side anew, of these descriptors and of descriptions
// that whoever made the fabric gave away in time. It writes nothing into a map
// on the way: a gate is never without its programs.
//
// What was made and not described yet when the first process ended is free
// again; whoever described must do so before anybody can use what was made.

// A RouteState describes a route.
type RouteState struct {
	Route, Client, Server uint32
	State                 uint64    // of the word of a new gate
	Methods               uint32    // of its interface
	Terse                 []bool    // by method: as Route.Terse has it
	Slots                 [2]uint32 // of the program array, by direction
	Empty                 bool      // its policy was taken away
	Buckets               [2][]BucketState
}

// A BucketState says which row of the buckets a name has.
type BucketState struct {
	Name string
	Row  uint32
}

// A GateState describes a gate.
type GateState struct {
	Index, Incarnation       uint32
	ClientBlock, ServerBlock uint32
	Revoked                  bool
}

// Describe says what another process needs to know of the route.
func (r *Route) Describe() RouteState {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s := RouteState{Route: r.spec.Route, Client: uint32(r.spec.Client), Server: uint32(r.spec.Server), State: r.spec.State,
		Methods: r.spec.Programs[0].NMethods, Terse: r.spec.Programs[abi.Reply].Terse, Slots: r.slots, Empty: r.programs == [2]*loaded{}}
	f.buckets.mu.Lock()
	defer f.buckets.mu.Unlock()
	for dir, p := range r.programs {
		if p == nil {
			continue
		}
		for _, name := range p.buckets {
			s.Buckets[dir] = append(s.Buckets[dir], BucketState{name, f.buckets.byName[name].row})
		}
	}
	return s
}

// Describe says what another process needs to know of the gate.
func (g *Gate) Describe() GateState {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	return GateState{Index: g.Index, Incarnation: g.incarnation, ClientBlock: g.ClientBlock, ServerBlock: g.ServerBlock, Revoked: g.revoked}
}

// Files is what a process must keep so that another can restore the endpoint.
// They are the endpoint's.
func (e *Endpoint) Files() []*os.File { return []*os.File{e.pageFile, e.ringFile, e.countersFile} }

// RestoreFabric takes over the fabric of another process, of what its Files
// were, in their order; the caller keeps its own. incarnation is not below any
// that the other used; buckets are in the order in which they were described: of one
// that has two rows the last counts. The caller then restores endpoints, routes and gates, all
// of them, and calls Restored, before it makes new ones.
func RestoreFabric(cfg FabricConfig, files []*os.File, incarnation uint32, buckets []BucketState) (_ *Fabric, err error) {
	obj, err := loadObject()
	if err != nil {
		return nil, err
	}
	f := &Fabric{cfg: cfg, object: obj, slots: newPool(cfg.Programs), rows: newPool(cfg.Gates), incarnation: incarnation}
	// A filter may still be running that found what the other process gave up last.
	// That takes some 10 ms, in which other things are done: Restored waits for it.
	ended := make(chan error, 1)
	go func() { ended <- graceperiod() }()
	f.before = sync.OnceValue(func() error { return <-ended })
	f.tables, f.shared = &tableCache{}, &programCache{}
	f.buckets = &bucketTable{rows: newPool(cfg.Buckets), byName: map[string]*bucket{}, most: cfg.KinBuckets}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	maps := f.maps()
	if len(files) != len(maps) {
		return nil, fmt.Errorf("fabric: %d descriptors, want %d", len(files), len(maps))
	}
	for i, file := range files {
		if *maps[i], err = mapOf(file); err != nil {
			return nil, fmt.Errorf("fabric: %w", err)
		}
		kept, err := dupMap(*maps[i])
		if err != nil {
			return nil, fmt.Errorf("fabric: %w", err)
		}
		f.files = append(f.files, kept)
	}
	if f.gates.MaxEntries() != cfg.Gates || f.programs.MaxEntries() != cfg.Programs || f.words.words.MaxEntries() != max(cfg.Words, 1) {
		return nil, fmt.Errorf("fabric: the maps are not of the size that was said")
	}
	for _, s := range []*stateMap{&f.words, &f.gateWords} {
		if err := s.load(obj); err != nil {
			return nil, fmt.Errorf("fabric: %w", err)
		}
	}
	if err := f.handles.restore(cfg.Handles, obj); err != nil {
		return nil, fmt.Errorf("fabric: %w", err)
	}
	if f.utf8, err = newUTF8Map(); err != nil {
		return nil, fmt.Errorf("fabric: %w", err)
	}
	if f.cgroups, err = senderCgroups(); err != nil {
		return nil, err
	}
	for _, b := range buckets {
		if err := f.buckets.rows.take(b.Row); err != nil {
			return nil, fmt.Errorf("fabric: bucket of %s: %w", b.Name, err)
		}
		if before := f.buckets.byName[b.Name]; before != nil { // it was forgotten, and came again
			f.buckets.drop(b.Name, before)
		}
		f.buckets.byName[b.Name] = &bucket{row: b.Row}
		if ofKin(b.Name) {
			f.buckets.kin++
		}
	}
	return f, nil
}

// mapOf opens the map behind a descriptor, which stays the caller's.
func mapOf(file *os.File) (*ebpf.Map, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the descriptor of a map: %w", err)
	}
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("a map that was kept: %w", err)
	}
	return m, nil
}

// RestoreEndpoint takes over an endpoint, of what its Files were; the caller
// keeps its own. id and cgroup are as in AddEndpoint; for NoDomain uid is the
// user, as in AddUser.
func (f *Fabric) RestoreEndpoint(id abi.DomainID, uid uint32, cgroup uint64, files []*os.File) (*Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &Endpoint{f: f, id: id, cgroup: cgroup, sender: fmt.Sprintf("domain %d", id)}
	if id == abi.NoDomain {
		e.sender = fmt.Sprintf("user %d", uid)
	}
	maps := []**ebpf.Map{&e.page, &e.ring, &e.counters}
	if len(files) != len(maps) {
		return nil, fmt.Errorf("endpoint of domain %d: %d descriptors, want %d", id, len(files), len(maps))
	}
	for i, file := range files {
		var err error
		if *maps[i], err = mapOf(file); err != nil {
			e.release()
			return nil, fmt.Errorf("endpoint of domain %d: %w", id, err)
		}
	}
	e.blocks = newPool(e.page.MaxEntries() / abi.PageBlock)
	if err := e.files(); err != nil {
		e.release()
		return nil, err
	}
	return e, nil
}

// RestoreRoute takes over a route between two restored endpoints.
func (f *Fabric) RestoreRoute(s RouteState, client, server *Endpoint) (*Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	spec := &filter.Spec{Route: s.Route, Client: abi.DomainID(s.Client), Server: abi.DomainID(s.Server), State: s.State}
	r := &Route{f: f, spec: spec, ends: [2]*Endpoint{client, server}, slots: s.Slots, gates: map[*Gate]bool{}}
	spec.Programs[abi.Reply].Terse = s.Terse
	for dir := range s.Slots {
		spec.Programs[dir].NMethods = s.Methods
		if err := f.slots.take(s.Slots[dir]); err != nil {
			return nil, fmt.Errorf("route %d: %w", s.Route, err)
		}
		if !s.Empty {
			r.programs[dir] = f.buckets.restored(s.Buckets[dir])
		}
	}
	client.use()
	server.use()
	return r, nil
}

// restored stands for a program of another process: the program array holds
// it. It is not shared with what is loaded later.
func (t *bucketTable) restored(buckets []BucketState) *loaded {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &loaded{uses: 1, ready: make(chan struct{})}
	close(l.ready)
	for _, b := range buckets {
		if known := t.byName[b.Name]; known != nil && known.row == b.Row {
			known.uses++
			l.buckets = append(l.buckets, b.Name)
		}
	}
	return l
}

// RestoreGate takes over a gate of a restored route. Its ends are not here.
func (f *Fabric) RestoreGate(s GateState, r *Route) (*Gate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &Gate{r: r, Index: s.Index, ClientBlock: s.ClientBlock, ServerBlock: s.ServerBlock, incarnation: s.Incarnation, revoked: s.Revoked}
	for _, u := range []struct {
		pool *pool
		n    uint32
	}{{&f.rows, s.Index}, {&r.ends[0].blocks, s.ClientBlock}, {&r.ends[1].blocks, s.ServerBlock}} {
		if err := u.pool.take(u.n); err != nil {
			return nil, fmt.Errorf("gate %d: %w", s.Index, err)
		}
	}
	f.incarnation = max(f.incarnation, s.Incarnation)
	if !s.Revoked {
		f.handles.adopt(s.Incarnation)
	}
	r.gates[g] = true
	return g, nil
}

// take takes a certain number out of a pool.
func (p *pool) take(n uint32) error {
	switch {
	case n >= p.limit || n == math.MaxUint32:
		return fmt.Errorf("number %d: there are %d", n, p.limit)
	case n >= p.next:
		for ; p.next < n; p.next++ {
			p.free = append(p.free, p.next)
		}
		p.next++
		return nil
	}
	i := slices.Index(p.free, n)
	if i < 0 {
		return fmt.Errorf("number %d is taken twice", n)
	}
	p.free = slices.Delete(p.free, i, i+1)
	return nil
}

// reservation is how many incarnations are given away at a time.
const reservation = 4096

// incarnate returns the number of a new gate. Whoever keeps the fabric's
// description is told, now and then, of one that is not reached yet, before any
// of those below it is used.
//
// Preconditions: f.mu is held.
func (f *Fabric) incarnate() (uint32, error) {
	if f.incarnation >= f.reserved {
		next := f.incarnation + reservation
		if f.cfg.Reserve != nil {
			if err := f.cfg.Reserve(next); err != nil {
				return 0, fmt.Errorf("number of the gate: %w", err)
			}
		}
		f.reserved = next
	}
	f.incarnation++
	return f.incarnation, nil
}
