package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"ward/abi"
	"ward/filter"
)

// A Route is the two programs that judge what passes between one client and
// one server over one interface, and the gates that use them.
type Route struct {
	f        *Fabric
	spec     *filter.Spec
	ends     [2]*Endpoint // client, server
	slots    [2]uint32    // of the program array, by direction
	programs [2]*loaded
	gates    map[*Gate]bool
	closed   bool
}

// Load verifies the programs of a route and puts them in the program array.
// The kernel takes 3 to 5 ms for each (Linux 6.18); the fabric is not locked
// meanwhile.
func (f *Fabric) Load(spec *filter.Spec, client, server *Endpoint) (*Route, error) {
	r := &Route{f: f, spec: spec, ends: [2]*Endpoint{client, server}, gates: map[*Gate]bool{}}
	f.mu.Lock()
	client.use()
	server.use()
	f.mu.Unlock()
	progs, err := f.loadPair(r, spec)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.place(r, progs)
	}
	if err != nil {
		return nil, errors.Join(err, client.leave(), server.leave())
	}
	return r, nil
}

// place puts a route's programs into the program array.
//
// Preconditions: f.mu is held; it may be given up in between.
func (f *Fabric) place(r *Route, progs [2]*loaded) error {
	r.programs = progs
	for dir := range progs {
		slot, err := f.slots.get(&f.mu)
		if err == nil {
			if err = f.programs.Put(slot, progs[dir].program); err != nil {
				f.slots.put(slot)
			}
		}
		if err != nil {
			for _, s := range r.slots[:dir] {
				f.programs.Delete(s)
				f.slots.put(s)
			}
			f.unloadPair(progs)
			return fmt.Errorf("route %d: slots of the program array: %w", r.spec.Route, err)
		}
		r.slots[dir] = slot
	}
	return nil
}

// Terse reports whether the server's errors on a method carry their code only,
// and they and a stream's end no metadata (filter.Program.Terse).
func (r *Route) Terse(method int) bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	t := r.spec.Programs[abi.Reply].Terse
	return method < len(t) && t[method]
}

// Replace swaps the programs of one route while its gates are open: Fabric.Swap
// with one change. It returns after every filter that ran an old program has ended.
func (r *Route) Replace(spec *filter.Spec) error {
	r.f.mu.Lock()
	closed, number := r.closed, r.spec.Route
	r.f.mu.Unlock()
	if closed {
		return fmt.Errorf("route %d: closed", number)
	}
	_, err := r.f.Swap([]Change{{r, spec}})
	return err
}

// Close revokes the route's gates and unloads its programs. Messages on gates
// that are still open are denied with ReasonClosed.
func (r *Route) Close() error {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var errs []error
	for g := range r.gates {
		errs = append(errs, g.close())
	}
	for dir := range r.slots {
		if err := f.programs.Delete(r.slots[dir]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // a swap may have emptied it
			errs = append(errs, err)
		}
		f.slots.put(r.slots[dir])
	}
	f.unloadPair(r.programs)
	errs = append(errs, r.ends[0].leave(), r.ends[1].leave())
	return errors.Join(errs...)
}

// loadPair loads both programs at the same time: the kernel verifies without a lock.
func (f *Fabric) loadPair(r *Route, spec *filter.Spec) (progs [2]*loaded, err error) {
	if err := f.checkWords(spec); err != nil {
		return progs, err
	}
	var errs [2]error
	var wg sync.WaitGroup
	for dir := range progs {
		wg.Go(func() { progs[dir], errs[dir] = f.loadProgram(spec, abi.Direction(dir), r.ends[dir]) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		f.unloadPair(progs)
		return progs, fmt.Errorf("route %d: %w", spec.Route, err)
	}
	return progs, nil
}

func (f *Fabric) unloadPair(progs [2]*loaded) {
	for _, p := range progs {
		if p != nil {
			f.shared.put(p, f.tables, f.buckets)
		}
	}
}

// gateBytes is a row of the map gates.
func gateBytes(progs [2]uint32, cgroups [2]uint64, blocks [2]uint32, incarnation uint32, spec *filter.Spec) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, gateRow)
	b = le.AppendUint32(b, progs[0])
	b = le.AppendUint32(b, progs[1])
	b = le.AppendUint64(b, cgroups[0])
	b = le.AppendUint64(b, cgroups[1])
	b = le.AppendUint32(b, blocks[0])
	b = le.AppendUint32(b, blocks[1])
	b = le.AppendUint32(b, incarnation)
	b = le.AppendUint32(b, spec.Route)
	b = le.AppendUint32(b, uint32(spec.Server))
	return le.AppendUint32(b, uint32(spec.Client))
}
