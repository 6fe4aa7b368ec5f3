package creator

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// A creator that died is followed by another, which takes over the domains
// that run: it signals them, and removes what belongs to them when they end.
// How they end only the holder can see, whose children they have become.
// Children of domains it does not take over but ends.

const (
	opAdopt op = 5 // domain, pid; descriptor: pidfd
	opUndo  op = 6 // domain
)

func init() {
	requests[opAdopt] = request{files: 1, do: (*creator).takeOver}
	requests[opUndo] = request{files: 0, do: (*creator).undo}
}

// Adopt makes a new creator take over a domain that an earlier one started.
// No Exit will tell its end.
func (c *Client) Adopt(ctx context.Context, domain abi.DomainID, pid int, pidfd *os.File) error {
	_, err := c.ask(ctx, message{op: opAdopt, domain: uint32(domain), pid: uint32(pid)}, pidfd)
	return err
}

// Undo kills a domain, if it runs, and waits for its end, which no Exit tells:
// for a start whose answer reached nobody.
func (c *Client) Undo(ctx context.Context, domain abi.DomainID) error {
	_, err := c.ask(ctx, message{op: opUndo, domain: uint32(domain)})
	return err
}

func (c *creator) takeOver(m message, files []*os.File) (bool, error) {
	id := abi.DomainID(m.domain)
	child := id >= image.FirstChild && int(id-image.FirstChild) < image.MaxChildren
	if !child && int64(m.domain) >= int64(len(c.img.Domains)) {
		return false, fmt.Errorf("creator: %w: no domain %d", errMessage, m.domain)
	}
	if c.running[id] != nil {
		return false, c.fail(m, "adopt %d: it is running", id)
	}
	if err := checkOwner(files[0], c.uid(id)); err != nil {
		return false, c.fail(m, "adopt %d: %v", id, err)
	}
	if child {
		return c.endUnknown(m, files[0])
	}
	fd, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return false, c.fail(m, "adopt %s: %v", c.img.Domains[id].Name, err)
	}
	r := &running{domain: id, adopted: true, process: &kernel.Process{PID: int(m.pid), Pidfd: os.NewFile(uintptr(fd), "pidfd of an adopted domain")}}
	if c.tree != nil {
		if r.cgroup, err = c.tree.Open(dirName(c.img.Domains[id].Name, id)); err != nil {
			r.process.Pidfd.Close()
			return false, c.fail(m, "adopt %s: %v", c.img.Domains[id].Name, err)
		}
	}
	if err := c.events.add(int(r.process.Pidfd.Fd()), int32(id)); err != nil {
		return false, err
	}
	if err := c.watch(r); err != nil {
		return false, err
	}
	c.running[id] = r
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

// endUnknown kills a child of the creator before this one, and waits for its
// end: who its parent is, what it took of whose quota and when its time is over
// only that one knew.
func (c *creator) endUnknown(m message, pidfd *os.File) (bool, error) {
	unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0) // an error: it has just ended
	if err := awaitEnd(pidfd); err != nil {
		return false, fmt.Errorf("creator: wait for child %d: %w", m.domain, err)
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

func (c *creator) undo(m message, _ []*os.File) (bool, error) {
	if r := c.running[abi.DomainID(m.domain)]; r != nil {
		unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), unix.SIGKILL, nil, 0) // an error: it has just ended
		r.untold = true
		if err := c.reap(r); err != nil {
			return false, err
		}
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

// awaitEnd waits for the process of a pidfd to end.
func awaitEnd(pidfd *os.File) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return err
		}
	}
}
