package creator

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel"
)

// A Limit is one that the kernel enforces on all processes of a domain together.
type Limit uint32

const (
	LimitProcesses Limit = 1 // processes and threads: no more were made
	LimitMemory    Limit = 2 // memory: processes were killed
	LimitDisk      Limit = 3 // bytes or files on disk: no more were written or made
)

var limits = map[string]Limit{"pids": LimitProcesses, "memory": LimitMemory}

// A Hit says that a domain ran into a limit. Of one limit of a domain there is
// at most one a second.
type Hit struct {
	Domain abi.DomainID
	Limit  Limit
	Count  uint64 // how often since the last Hit: refused processes, killed ones; of disk how often the kernel said so
	Number uint64 // for Heard
}

// maxHits bounds those that nobody has read yet.
const maxHits = 4096

// Hits tells when domains run into limits, and is closed when the creator has
// ended. If nobody reads, what comes after the first few thousand is lost. All that
// came before an Exit is there when that is.
func (c *Client) Hits() <-chan Hit { return c.hits }

// hit passes one on.
//
// Preconditions: c.mu is held.
func (c *Client) hit(m message) {
	select {
	case c.hits <- Hit{Domain: abi.DomainID(m.domain), Limit: Limit(m.arg), Count: m.cgroup, Number: numberOf(&m)}:
	default:
	}
}

// limit makes the cgroup of a domain and sets its limits, those of the sandbox
// included. What the system states must be enforced; defaults are where there
// is a controller, and user IDs and processes have theirs anyway.
func (c *creator) limit(r *running, s *kernel.Sandbox) (err error) {
	d := c.family.Def(r.domain)
	stated, q := d.Quota, c.img.LimitsOf(d)
	s.Limits = kernel.Limits{Processes: q.Processes, Files: q.Files, FileSize: q.FileSize, Locked: locked(c.img, r.domain)}
	if c.tree == nil {
		if stated.Memory != 0 || stated.CPUWeight != 0 || stated.CPU != 0 {
			return fmt.Errorf("its quota of memory or CPU cannot be enforced: %w", kernel.ErrNoCgroup2)
		}
		return nil
	}
	r.cgroup, err = c.tree.New(c.place(r.domain),
		kernel.CgroupLimits{Memory: stated.Memory, CPUWeight: stated.CPUWeight, CPU: stated.CPU},
		kernel.CgroupLimits{Memory: q.Memory, CPUWeight: q.CPUWeight, Processes: q.Processes})
	if err != nil {
		return err
	}
	if r.cgroup.Limits["pids"] != "" {
		s.Limits.Processes++ // the cgroup refuses first, and counts what it refuses
	}
	s.Cgroup = r.cgroup
	return nil
}

// watch tells events of a domain that has started.
func (c *creator) watch(r *running) error {
	c.watchStanding(r)
	if err := c.watchDisk(r.domain); err != nil {
		return err
	}
	if r.cgroup == nil {
		return nil
	}
	return c.events.limits.Add(uint32(r.domain), r.cgroup)
}

// unwatch forgets a domain that has ended, and tells what it ran into last.
func (c *creator) unwatch(r *running) {
	unix.EpollCtl(c.events.epoll, unix.EPOLL_CTL_DEL, int(r.process.Pidfd.Fd()), nil)
	c.report(c.events.limits.Remove(uint32(r.domain))) // an error: the channel is closed, and the loop learns it
	c.unwatchDisk(r.domain)
	c.unwatchStanding(r)
}

// report tells the monitor.
func (c *creator) report(hits []kernel.LimitHit) error {
	for _, h := range hits {
		if err := c.tellHit(abi.DomainID(h.Key), limits[h.Controller], h.Count); err != nil {
			return err
		}
	}
	return nil
}

func (c *creator) tellHit(id abi.DomainID, l Limit, count uint64) error {
	err := c.tell(message{op: opHit, domain: uint32(id), arg: uint32(l), cgroup: count})
	if errors.Is(err, unix.EPIPE) {
		return nil // nobody is there to be told; the channel's end of file follows
	}
	return err
}

// events is what the creator waits for: requests, the ends of domains, and the
// limits that they run into. A thousand domains cost it no more than ten.
type events struct {
	epoll  int
	limits *kernel.CgroupWatch
	disk   diskEvents
	alarm  uint64 // of children: when the next one's time is over, CLOCK_BOOTTIME ns; 0: none has one
	buf    [64]unix.EpollEvent
}

// What an event is about, if it is not the end of a domain.
const (
	aboutChannel = -1 - iota
	aboutLimits
)

func newEvents(channel int) (*events, error) {
	limits, err := kernel.NewCgroupWatch()
	if err != nil {
		return nil, fmt.Errorf("creator: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creator: epoll: %w", err), limits.Close())
	}
	e := &events{epoll: epoll, limits: limits, disk: diskEvents{}}
	err = e.add(channel, aboutChannel)
	for _, fd := range limits.Files() {
		err = errors.Join(err, e.add(fd, aboutLimits))
	}
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *events) close() {
	unix.Close(e.epoll)
	e.limits.Close()
	e.disk.close()
}

func (e *events) add(fd int, about int32) error {
	if err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: about}); err != nil {
		return fmt.Errorf("creator: epoll: %w", err)
	}
	return nil
}

// ready is what happened.
type ready struct {
	request bool
	ended   []abi.DomainID
	hits    []kernel.LimitHit
	disk    []abi.DomainID // that ran into their quota of disk
}

// wait waits until something happens, no longer than timeout, in ms; -1: for ever.
func (e *events) wait(timeout int) (r ready, err error) {
	if d := e.limits.Wait(time.Now()); d >= 0 && (timeout < 0 || int(d/time.Millisecond) < timeout) {
		timeout = int(d/time.Millisecond) + 1
	}
	if alarm, err := e.untilAlarm(); err != nil {
		return r, err
	} else if alarm >= 0 && (timeout < 0 || alarm < timeout) {
		timeout = alarm
	}
	if again := e.disk.untilDisk(time.Now()); again >= 0 && (timeout < 0 || again < timeout) {
		timeout = again
	}
	n, err := unix.EpollWait(e.epoll, e.buf[:], timeout)
	if err == unix.EINTR {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("creator: epoll: %w", err)
	}
	for i := range e.buf[:n] {
		switch about := e.buf[i].Fd; about {
		case aboutChannel:
			r.request = true
		case aboutLimits:
		default:
			if about <= aboutDisk {
				r.disk = append(r.disk, abi.DomainID(aboutDisk-about))
				continue
			}
			r.ended = append(r.ended, abi.DomainID(about))
		}
	}
	if r.hits, err = e.limits.Read(time.Now()); err != nil {
		return r, fmt.Errorf("creator: %w", err)
	}
	return r, nil
}
