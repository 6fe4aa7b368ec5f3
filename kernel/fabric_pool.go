package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A pool hands out numbers. What is given back may still be in use by filters
// that run on other processors, so it is handed out again only after a grace
// period: socket filters run in an RCU read-side critical section, and
// membarrier(2) with MEMBARRIER_CMD_GLOBAL waits for all of these.
type pool struct {
	next, limit uint32
	free        []uint32 // no filter can still use these
	dirty       []uint32 // given back since the last grace period
}

var errPoolEmpty = errors.New("all in use")

func newPool(limit uint32) pool { return pool{limit: limit} }

func (p *pool) get() (uint32, error) {
	if len(p.free) == 0 && p.next < p.limit {
		p.next++
		return p.next - 1, nil
	}
	if len(p.free) == 0 && len(p.dirty) > 0 {
		if err := graceperiod(); err != nil {
			return 0, err
		}
		p.free, p.dirty = p.dirty, nil
	}
	if len(p.free) == 0 {
		return 0, fmt.Errorf("%d of %d %w", p.limit, p.limit, errPoolEmpty)
	}
	n := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return n, nil
}

func (p *pool) put(n uint32) { p.dirty = append(p.dirty, n) }

func (p *pool) inUse() uint32 { return p.next - uint32(len(p.free)+len(p.dirty)) }

// graceperiod returns after every filter that was running has ended. Source: membarrier(2).
func graceperiod() error {
	const cmdGlobal = 1
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, cmdGlobal, 0, 0); e != 0 {
		return fmt.Errorf("membarrier: %w", e)
	}
	return nil
}
