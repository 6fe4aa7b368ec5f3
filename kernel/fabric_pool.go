package kernel

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// A pool hands out numbers. What is given back may still be in use by filters
// that run on other processors, so it is handed out again only after a grace
// period: socket filters run in an RCU read-side critical section, and
// membarrier(2) with MEMBARRIER_CMD_GLOBAL waits for all of these.
//
// Nobody waits for a grace period with the pool's lock held, which is that of
// whatever the pool belongs to: see get.
type pool struct {
	next, limit uint32
	free        []uint32      // no filter can still use these
	dirty       []uint32      // given back since the last grace period began
	resting     []uint32      // given back before that, and it is not over yet
	rested      chan struct{} // closed when it is; nil: none is under way
	grace       func() error  // graceperiod
}

var errPoolEmpty = errors.New("all in use")

func newPool(limit uint32) pool { return pool{limit: limit, grace: graceperiod} }

// get takes a number. If there are only such as were given back of late, it gives mu up
// for a grace period, some 10 ms: what mu guards may have changed when it returns.
//
// Preconditions: mu is held, and guards the pool.
func (p *pool) get(mu sync.Locker) (uint32, error) {
	for {
		switch last := len(p.free) - 1; {
		case last >= 0:
			n := p.free[last]
			p.free = p.free[:last]
			return n, nil
		case p.next < p.limit:
			p.next++
			return p.next - 1, nil
		case p.rested == nil && len(p.dirty) == 0:
			return 0, fmt.Errorf("%d of %d %w", p.limit, p.limit, errPoolEmpty)
		}
		if err := p.rest(mu); err != nil {
			return 0, err
		}
	}
}

// rest waits for the grace period that is under way, or for one that it begins for
// what was given back by now.
//
// Preconditions: as of get.
func (p *pool) rest(mu sync.Locker) error {
	if rested := p.rested; rested != nil {
		mu.Unlock()
		<-rested
		mu.Lock()
		return nil
	}
	p.resting, p.dirty, p.rested = p.dirty, nil, make(chan struct{})
	mu.Unlock()
	err := p.grace()
	mu.Lock()
	if err == nil {
		p.free = append(p.free, p.resting...)
	} else {
		p.dirty = append(p.dirty, p.resting...)
	}
	close(p.rested)
	p.resting, p.rested = nil, nil
	return err
}

func (p *pool) put(n uint32) { p.dirty = append(p.dirty, n) }

// graceperiod returns after every filter that was running has ended. Source: membarrier(2).
func graceperiod() error {
	const cmdGlobal = 1
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, cmdGlobal, 0, 0); e != 0 {
		return fmt.Errorf("membarrier: %w", e)
	}
	return nil
}
