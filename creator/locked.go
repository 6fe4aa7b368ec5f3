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
			errs = append(errs, fmt.Errorf("%s runs, and cannot be given the limit for the secret memory that it may make now, %d bytes of locked memory, before it is started again (who starts ward needs CAP_SYS_RESOURCE): %w", img.Domains[id].Name, n, err))
		}
	}
	return errors.Join(errs...)
}

// raiseLocked raises the limit of all processes of a domain: again and again, until
// there is none that was not there the time before, as a process that starts another
// passes on what it had at that moment. Without cgroup v2 it is that of
// the first one, and of what that starts from then on.
func (r *running) raiseLocked(n uint64) error {
	raised := map[int]bool{}
	for more := true; more; {
		more = false
		pids := []int{r.process.PID}
		if r.cgroup != nil {
			all, err := r.cgroup.Processes()
			if err != nil {
				return err
			}
			pids = append(pids, all...)
		}
		for _, pid := range pids {
			if raised[pid] {
				continue
			}
			if err := kernel.RaiseLocked(pid, n); err != nil && !errors.Is(err, unix.ESRCH) { // it has just ended
				return err
			}
			raised[pid], more = true, true
		}
	}
	return nil
}
