package creator

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRaisedToTheEnd: processes that come while limits are raised get theirs, but a
// domain that starts one whenever it is looked at does not keep the creator from
// everything else.
func TestRaisedToTheEnd(t *testing.T) {
	born, last := 0, 5
	raised := map[int]bool{}
	list := func() (pids []int, _ error) {
		born++
		for pid := 1; pid <= min(born, last); pid++ {
			pids = append(pids, pid)
		}
		return pids, nil
	}
	raise := func(pid int) error {
		raised[pid] = true
		if pid == 3 {
			return unix.ESRCH
		}
		return nil
	}
	if err := raiseAll(list, raise); err != nil || len(raised) != last {
		t.Errorf("raised %v, %v", raised, err)
	}
	last = 1 << 30
	if err := raiseAll(list, raise); !errors.Is(err, errTooFast) || !raised[born] {
		t.Errorf("one that starts processes for ever: %v", err)
	}
}
