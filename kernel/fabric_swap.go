package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"ward/filter"
)

// A Change is what becomes of one route in a swap.
type Change struct {
	Route *Route
	// Spec is the route's new policy, for the same domains and the same
	// interface. nil: nothing may pass any more, and its gates are revoked; the
	// route stays to be closed.
	Spec *filter.Spec
}

// A Swap is a change of many routes that is ready: all its programs are
// verified, and nothing has changed yet. Commit or Cancel it.
type Swap struct {
	f       *Fabric
	changes []prepared
	done    bool
}

// A prepared is one route's part of a swap.
type prepared struct {
	Change
	base [2]*loaded // the programs that it was prepared against
	next [2]*loaded // nil: none
}

// Prepare verifies the programs of changes, each route once. It takes no lock
// that opening a gate or loading a route waits for; an error changes nothing.
//
// Routes that are loaded between Prepare and Commit keep what they were loaded
// with: let nobody load from the old policy meanwhile, or swap again.
func (f *Fabric) Prepare(changes []Change) (*Swap, error) {
	s := &Swap{f: f}
	seen := map[*Route]bool{}
	for _, c := range changes {
		if err := s.prepare(c, seen); err != nil {
			return nil, errors.Join(err, s.Cancel())
		}
	}
	return s, nil
}

func (s *Swap) prepare(c Change, seen map[*Route]bool) (err error) {
	r := c.Route
	if r.f != s.f || seen[r] {
		return fmt.Errorf("swap: route %d is of another fabric, or changed twice", r.spec.Route)
	}
	seen[r] = true
	s.f.mu.Lock()
	p := prepared{Change: c, base: r.programs}
	old, closed := r.spec, r.closed
	if !closed {
		for _, e := range r.ends { // whose maps the programs are verified with: the route may be closed meanwhile
			e.use()
			defer func() {
				s.f.mu.Lock()
				defer s.f.mu.Unlock()
				err = errors.Join(err, e.leave())
			}()
		}
	}
	s.f.mu.Unlock()
	if closed {
		return nil // its gates are gone
	}
	if n := c.Spec; n != nil {
		if n.Client != old.Client || n.Server != old.Server || n.Programs[0].NMethods != old.Programs[0].NMethods {
			return fmt.Errorf("route %d: its replacement is for other domains or another interface", old.Route)
		}
		if p.next, err = s.f.loadPair(r, n); err != nil {
			return err
		}
	}
	s.changes = append(s.changes, p)
	return nil
}

// Cancel gives a prepared swap up: the routes stay as they are.
func (s *Swap) Cancel() error {
	if s.done {
		return nil
	}
	s.done = true
	for i := range s.changes {
		s.f.unloadPair(s.changes[i].next)
	}
	return nil
}

// Commit swaps: the slots of the program array change one after the other, both
// directions of a route side by side, with nothing in between that waits. Each
// message is judged by the old programs of its route or by the new; what was
// admitted and is still queued stays, and so do pending calls, state and buckets.
// It returns after every filter that ran an old program has ended, which takes
// a grace period, some 10 ms, without a lock. The time is that from the first
// slot to the last.
//
// If a route was swapped by another since Prepare, nothing changes and the
// error says so. A slot that the kernel refuses to change is emptied (its gates
// deny every message); the others are swapped, and the error names the route.
func (s *Swap) Commit() (time.Duration, error) {
	if s.done {
		return 0, errors.New("swap: already committed or cancelled")
	}
	f := s.f
	f.mu.Lock()
	for i := range s.changes {
		if c := &s.changes[i]; !c.Route.closed && c.Route.programs != c.base {
			f.mu.Unlock()
			return 0, errors.Join(fmt.Errorf("route %d: it was swapped while this swap was prepared; prepare again", c.Route.spec.Route), s.Cancel())
		}
	}
	s.done = true
	took, errs := s.exchange()
	f.mu.Unlock()

	if err := graceperiod(); err != nil {
		// The old programs stay loaded: nobody knows whether they still run.
		return took, errors.Join(append(errs, fmt.Errorf("swap: %w", err))...)
	}
	for i := range s.changes {
		f.unloadPair(s.changes[i].base)
	}
	return took, errors.Join(errs...)
}

// exchange changes the slots and then what the rows of gates say. Afterwards
// base holds the programs to be unloaded.
//
// Preconditions: f.mu is held; base is what each open route has.
func (s *Swap) exchange() (time.Duration, []error) {
	f := s.f
	var errs []error
	runtime.LockOSThread()
	first := time.Now()
	for i := range s.changes {
		c := &s.changes[i]
		r := c.Route
		if r.closed {
			c.base = c.next // nobody uses what was prepared
			continue
		}
		for dir := range c.next {
			if c.next[dir] == nil {
				f.programs.Delete(r.slots[dir]) // an empty slot is an error, and what is wanted
				continue
			}
			if err := f.programs.Put(r.slots[dir], c.next[dir].program); err != nil {
				// What could not be swapped must not go on under the old policy.
				f.programs.Delete(r.slots[dir])
				errs = append(errs, fmt.Errorf("route %d: swap a program, now empty: %w", r.spec.Route, err))
			}
		}
		r.programs = c.next
		if c.Spec != nil {
			r.spec = c.Spec
		}
	}
	took := time.Since(first)
	runtime.UnlockOSThread()
	for i := range s.changes {
		if r := s.changes[i].Route; !r.closed {
			errs = append(errs, r.swapped(s.changes[i].Spec == nil)...)
		}
	}
	return took, errs
}

// swapped brings what the rows and status words of a route's gates say up to date.
func (r *Route) swapped(revoke bool) (errs []error) {
	for g := range r.gates {
		switch {
		case revoke:
			errs = append(errs, g.revoke())
		case g.revoked:
		default:
			// Its row names the route, for records: the image may be another.
			errs = append(errs, g.record(r.slots), g.bump(filter.StatusBump))
		}
	}
	return errs
}

// Swap prepares and commits changes.
func (f *Fabric) Swap(changes []Change) (time.Duration, error) {
	s, err := f.Prepare(changes)
	if err != nil {
		return 0, err
	}
	return s.Commit()
}
