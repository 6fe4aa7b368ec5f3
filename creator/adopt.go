package creator

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel"
)

// A creator that died is followed by another, which takes over the domains
// that run: it signals them, and removes what belongs to them when they end.
// How they end only the holder can see, whose children they have become. With
// children of domains it is the same (adoptchild.go).

const (
	opAdopt op = 5 // domain, pid; descriptor: pidfd; of a child arg, text: what it is; uid, cgroup: what is known of its limits (Counted)
	opUndo  op = 6 // domain
)

func init() {
	requests[opAdopt] = request{files: 1, text: true, do: (*creator).takeOver}
	requests[opUndo] = request{files: 0, do: (*creator).undo}
}

// Counted is how often a process ran into its limits, by the Hits that were told of it.
type Counted struct {
	Processes, Memory uint64
}

// into puts it into a request. It has room for more than there ever was; if not, what there
// is then counts as told.
func (n Counted) into(m *message) {
	if n.Processes < 1<<processBits && n.Memory < 1<<(64-processBits) {
		m.uid, m.cgroup = 1, n.Processes|n.Memory<<processBits
	}
}

const processBits = 40

// countedOf is what a request says; nil: nothing.
func countedOf(m *message) *Counted {
	if m.uid != 1 {
		return nil
	}
	return &Counted{Processes: m.cgroup & (1<<processBits - 1), Memory: m.cgroup >> processBits}
}

// Adopt makes a new creator take over a domain that an earlier one started.
// No Exit will tell its end. What it ran into beyond what is counted is told as a Hit,
// because the creator before may have died before it told that; without a count nothing of before is.
func (c *Client) Adopt(ctx context.Context, domain abi.DomainID, pid int, pidfd *os.File, counted ...Counted) error {
	m := message{op: opAdopt, domain: uint32(domain), pid: uint32(pid)}
	for _, n := range counted {
		n.into(&m)
	}
	_, err := c.ask(ctx, m, pidfd)
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
	child := isChild(id)
	if !child && int64(m.domain) >= int64(len(c.img.Domains)) {
		return false, fmt.Errorf("creator: %w: no domain %d", errMessage, m.domain)
	}
	if c.running[id] != nil {
		return false, c.fail(m, "adopt %d: it is running", id)
	}
	if err := checkOwner(files[0], c.uid(id)); err != nil {
		return false, c.fail(m, "adopt %d: %v", id, err)
	}
	if hasEnded(files[0]) { // meanwhile: the monitor learns it from the holder, or by itself
		if c.tree != nil {
			if err := c.tree.Clear(dirName(c.nameOf(id), id)); err != nil {
				return false, c.fail(m, "adopt %s: %v", c.nameOf(id), err)
			}
		}
		return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
	}
	var until uint64
	if child {
		k, end, err := c.adoptKin(&m)
		if err != nil {
			return false, err
		}
		if k == nil {
			return c.endUnknown(m, files[0])
		}
		until = end
	} else if m.text != "" {
		return false, fmt.Errorf("creator: %w: domain %d as a child", errMessage, m.domain)
	}
	end, err := c.adoptProcess(id, int(m.pid), files[0], until, countedOf(&m))
	if err != nil {
		c.family.Remove(id)
		return false, c.fail(m, "adopt %s: %v", c.nameOf(id), err)
	}
	if end != nil {
		return false, end
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

// adoptProcess makes a running process one of the creator's. fatal is an error
// after which the creator cannot go on.
func (c *creator) adoptProcess(id abi.DomainID, pid int, pidfd *os.File, until uint64, counted *Counted) (fatal, err error) {
	fd, err := unix.FcntlInt(pidfd.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	r := &running{domain: id, adopted: true, until: until, process: &kernel.Process{PID: pid, Pidfd: os.NewFile(uintptr(fd), "pidfd of an adopted domain")}}
	if c.tree != nil {
		if r.cgroup, err = c.tree.Open(dirName(c.nameOf(id), id)); err != nil {
			r.process.Pidfd.Close()
			return nil, err
		}
	}
	if err := c.events.add(int(r.process.Pidfd.Fd()), int32(id)); err != nil {
		return err, nil
	}
	if err := c.watch(r); err != nil {
		return err, nil
	}
	if err := c.reportSince(id, counted); err != nil {
		return err, nil
	}
	c.running[id] = r
	if k := c.family.Kin(id); k != nil && !k.Adopted && c.running[k.Parent] == nil {
		c.kill(id) // its parent has ended meanwhile
	}
	c.setAlarm()
	return nil, nil
}

// reportSince tells what a process that is taken over ran into that nobody has told.
func (c *creator) reportSince(id abi.DomainID, counted *Counted) error {
	if counted == nil {
		c.events.limits.Known(uint32(id))
		return nil
	}
	return c.report(c.events.limits.Since(uint32(id), func(controller string) uint64 {
		if limits[controller] == LimitMemory {
			return counted.Memory
		}
		return counted.Processes
	}))
}

// nameOf is a domain's or child's name.
func (c *creator) nameOf(id abi.DomainID) string {
	if d := c.family.Def(id); d != nil {
		return d.Name
	}
	return fmt.Sprintf("child %d", id)
}

// endUnknown kills a child of the creator before this one that the image does
// not allow, and waits for its end, which the holder tells.
func (c *creator) endUnknown(m message, pidfd *os.File) (bool, error) {
	unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0) // an error: it has just ended
	if err := awaitEnd(pidfd); err != nil {
		return false, fmt.Errorf("creator: wait for child %d: %w", m.domain, err)
	}
	if err := c.clear(abi.DomainID(m.domain)); err != nil {
		return false, c.fail(m, "child %d: %v", m.domain, err)
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
	} else if id := abi.DomainID(m.domain); isChild(id) { // a creator that died may have made it
		if err := c.clear(id); err != nil {
			return false, c.fail(m, "undo child %d: %v", id, err)
		}
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

// hasEnded reports whether the process of a pidfd has ended.
func hasEnded(pidfd *os.File) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
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
