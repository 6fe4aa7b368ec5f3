package creator

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// Locked memory: the kernel counts what a process maps of secret memory as that
// (RLIMIT_MEMLOCK). A domain has the limit for what the image lets it make when it is
// started; an image that lets it make more raises it. None lowers it: what bounds
// the memory itself is the count of the object and the domain's quota.

// locked is how much memory a process of a domain may lock, bytes: besides what
// all may, the secret memory that an image lets it make.
func locked(img *image.Image, id abi.DomainID) uint64 {
	page := uint64(os.Getpagesize())
	n := uint64(kernel.DefaultLocked)
	for _, o := range img.Secrets(id) {
		n += uint64(o.Count) * ((o.Size + page - 1) / page * page)
	}
	return n
}

// raiseLocked gives the domains that run what another image lets them lock. Children
// make no secret memory. An error names those of which it cannot: they can map what
// they may make when they are started again.
func (c *creator) raiseLocked(img *image.Image) error {
	var errs []error
	for id, r := range c.running {
		n := locked(img, id)
		if c.family.Kin(id) != nil || n <= locked(c.img, id) {
			continue
		}
		if err := r.raiseLocked(n); err != nil {
			need := ""
			if errors.Is(err, unix.EPERM) {
				need = " (who starts ward needs CAP_SYS_RESOURCE)"
			}
			errs = append(errs, fmt.Errorf("%s runs, and cannot be given the limit for the secret memory that it may make now, %d bytes of locked memory, before it is started again%s: %w", img.Domains[id].Name, n, need, err))
		}
	}
	return errors.Join(errs...)
}

// errTooFast: see raiseAll.
var errTooFast = errors.New("it starts processes faster than they can be given it, so some may not have it")

// raiseRounds bounds how often it is looked for processes that were started meanwhile.
const raiseRounds = 64

// raiseLocked raises the limit of all processes of a domain. Without cgroup v2 that
// is of the first one, and of what that starts from then on.
func (r *running) raiseLocked(n uint64) error {
	list := func() ([]int, error) {
		if r.cgroup != nil {
			return r.cgroup.Processes()
		}
		if hasEnded(r.process.Pidfd) { // the number may be another's
			return nil, nil
		}
		return []int{r.process.PID}, nil
	}
	return raiseAll(list, func(pid int) error { return kernel.RaiseLocked(pid, n) })
}

// raiseAll raises again and again, until there is none that was not there the time
// before, as a process that starts another passes on what it had at that moment.
// A domain that starts them faster than that is left to itself after a while: all
// other domains wait for it.
func raiseAll(list func() ([]int, error), raise func(pid int) error) error {
	raised := map[int]bool{}
	for range raiseRounds {
		pids, err := list()
		if err != nil {
			return err
		}
		more := false
		for _, pid := range pids {
			if raised[pid] {
				continue
			}
			if err := raise(pid); err != nil && !errors.Is(err, unix.ESRCH) { // it has just ended
				return err
			}
			raised[pid], more = true, true
		}
		if !more {
			return nil
		}
	}
	return errTooFast
}
