package creator

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// Quotas of disk: the kernel package makes what a domain may write of its
// project, with the domain's root. Here it is told when one is hit.

// diskPause is the time between two notices of one domain.
const diskPause = time.Second

// disk is the quota of a domain. A child has none of its own: it writes only
// where its parent may, which counts as the parent's.
func (c *creator) disk(id abi.DomainID) (kernel.DiskQuota, error) {
	d := c.family.Def(id)
	if _, single := kernel.SingleUser(); single && d.Quota.Disk > 0 {
		return kernel.DiskQuota{}, fmt.Errorf("its quota of disk cannot be enforced: %w: projects are the host's, and an ordinary user has started the system", kernel.ErrNoDiskQuota)
	} else if single || isChild(id) {
		return kernel.DiskQuota{}, nil
	}
	return kernel.DiskQuota{Project: image.ProjectOf(c.img.Name, d.Name), Owner: image.DiskOwner(c.img.Name, d.Name), Bytes: d.Quota.Disk}, nil
}

// diskEvents are the watches of the domains that run and have a quota of disk.
type diskEvents map[abi.DomainID]*diskWatch

type diskWatch struct {
	*kernel.DiskWatch
	due time.Time // when it is waited for again; zero: it is
}

// aboutDisk is what an event is about, less the number of the domain.
const aboutDisk = -16

// untilDisk is how long the loop may wait, in ms; -1: for ever.
func (e diskEvents) untilDisk(now time.Time) int {
	wait := -1
	for _, w := range e {
		if w.due.IsZero() {
			continue
		}
		if ms := int(max(0, w.due.Sub(now))/time.Millisecond) + 1; wait < 0 || ms < wait {
			wait = ms
		}
	}
	return wait
}

func (e diskEvents) close() {
	for _, w := range e {
		w.Close()
	}
}

// watchDisk has the kernel tell when a domain runs into its quota of disk. One
// that starts is watched before it runs.
func (c *creator) watchDisk(id abi.DomainID) error {
	q, err := c.disk(id)
	if err != nil || q.Bytes == 0 || c.events.disk[id] != nil {
		return err
	}
	w, err := kernel.WatchDisk(q.Project)
	if err != nil {
		return err
	}
	if err := c.events.add(w.File(), aboutDisk-int32(id)); err != nil {
		w.Close()
		return err
	}
	c.events.disk[id] = &diskWatch{DiskWatch: w}
	return nil
}

// unwatchDisk forgets a domain that has ended, and tells what it ran into last.
func (c *creator) unwatchDisk(id abi.DomainID) {
	w := c.events.disk[id]
	if w == nil {
		return
	}
	if n, err := w.Read(); err == nil && n > 0 {
		c.tellHit(id, LimitDisk, n) // an error: the channel is closed, and the loop learns it
	}
	w.Close()
	delete(c.events.disk, id)
}

// reportDisk tells what these domains ran into, and leaves them alone for a
// while: one can run into its quota a hundred thousand times a second.
func (c *creator) reportDisk(ids []abi.DomainID) error {
	now := time.Now()
	for id, w := range c.events.disk {
		if w.due.IsZero() || w.due.After(now) {
			continue
		}
		w.due = time.Time{}
		if err := c.events.add(w.File(), aboutDisk-int32(id)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		w := c.events.disk[id]
		if w == nil {
			continue
		}
		n, err := w.Read()
		if err != nil {
			return fmt.Errorf("creator: %w", err)
		}
		if n == 0 {
			continue
		}
		if err := c.tellHit(id, LimitDisk, n); err != nil {
			return err
		}
		// Taken out whole: that messages were lost would be told whatever one asks for.
		w.due = now.Add(diskPause)
		if err := unix.EpollCtl(c.events.epoll, unix.EPOLL_CTL_DEL, w.File(), nil); err != nil {
			return fmt.Errorf("creator: epoll: %w", err)
		}
	}
	return nil
}
