package names

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
)

// Limits of the registry.
const (
	MaxNames   = 256 // interfaces that one domain may publish
	MaxServers = 64  // domains that may publish one interface: as many as an answer carries
)

// A publisher is one life of a domain: one that ended and was started again
// is another.
type publisher struct {
	domain abi.DomainID
	pid    uint32
}

// Registry is what is published. The zero value is empty and ready.
type Registry struct {
	mu      sync.Mutex
	servers map[string][]server // by interface, in order of publication
	gates   map[publisher]int
	names   map[publisher]int
	changed chan struct{} // closed when something was published
	last    uint64        // number of the last publication
}

type server struct {
	publisher
	name   string
	number uint64
}

// Begun notes a gate of p.
func (r *Registry) Begun(p abi.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gates == nil {
		r.servers, r.gates, r.names = map[string][]server{}, map[publisher]int{}, map[publisher]int{}
	}
	r.gates[publisher{p.Domain, p.PID}]++
}

// Ended notes that a gate of p has ended. With the last one its names vanish.
func (r *Registry) Ended(p abi.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := publisher{p.Domain, p.PID}
	if r.gates[key]--; r.gates[key] > 0 {
		return
	}
	delete(r.gates, key)
	for iface := range r.servers {
		r.remove(iface, key)
	}
}

// Publish says that p serves iface.
func (r *Registry) Publish(p abi.Peer, iface string) error {
	if p.Domain == abi.NoDomain {
		return gate.Errorf(gate.PermissionDenied, "only domains publish interfaces")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := publisher{p.Domain, p.PID}
	if r.gates[key] == 0 {
		return gate.Errorf(gate.Unavailable, "the gate of %s has just ended", p.Name)
	}
	list := r.servers[iface]
	if slices.ContainsFunc(list, func(s server) bool { return s.publisher == key }) {
		return nil
	}
	if r.names[key] >= MaxNames || len(list) >= MaxServers {
		return gate.Errorf(gate.ResourceExhausted, "publish %s: at most %d interfaces for a domain, and %d domains for an interface", iface, MaxNames, MaxServers)
	}
	// Numbers begin with the time, so that they grow over a restart, too.
	r.last = max(r.last+1, bootNow())
	r.servers[iface] = append(list, server{key, p.Name, r.last})
	r.names[key]++
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
	return nil
}

// Withdraw says that p no longer serves iface.
func (r *Registry) Withdraw(p abi.Peer, iface string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.remove(iface, publisher{p.Domain, p.PID}) {
		return gate.Errorf(gate.NotFound, "%s has not published %s", p.Name, iface)
	}
	return nil
}

// remove takes one publication back, and reports whether there was one.
//
// Preconditions: r.mu is held.
func (r *Registry) remove(iface string, key publisher) bool {
	list := r.servers[iface]
	i := slices.IndexFunc(list, func(s server) bool { return s.publisher == key })
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(r.servers, iface)
	} else {
		r.servers[iface] = list
	}
	if r.names[key]--; r.names[key] == 0 {
		delete(r.names, key)
	}
	return true
}

// Lookup returns the names of the domains that serve iface, and the number of
// the last of their publications. If none was made after a number, it waits for
// one until ctx ends, or returns a NotFound error.
func (r *Registry) Lookup(ctx context.Context, iface string, after uint64, wait bool) (found []string, published uint64, err error) {
	for {
		r.mu.Lock()
		found = nil
		for _, s := range r.servers[iface] {
			found, published = append(found, s.name), max(published, s.number)
		}
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		switch {
		case len(found) > 0 && published > after:
			return found, published, nil
		case !wait && len(found) > 0:
			return nil, 0, gate.Errorf(gate.NotFound, "no other domain serves %s now", iface)
		case !wait:
			return nil, 0, gate.Errorf(gate.NotFound, "no domain serves %s now", iface)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if len(found) > 0 {
				return nil, 0, gate.Errorf(gate.NotFound, "no other domain serves %s, and none came until the deadline of the lookup", iface)
			}
			return nil, 0, gate.Errorf(gate.NotFound, "no domain serves %s, and none came until the deadline of the lookup", iface)
		}
	}
}

// bootNow reads CLOCK_BOOTTIME, ns. It is 0 where that cannot be read: then
// numbers grow within one life of the name server only.
func bootNow() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}
