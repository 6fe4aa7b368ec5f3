package holder

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/holder/link"
)

// A process of wardd that dies is started again at once, and later and later
// if it does not stay; then the system stops.
const (
	steady    = 500 * time.Millisecond // who lives that long has come back
	deathsMax = 20                     // in a row, of one process
	delayMax  = 250 * time.Millisecond
	spared    = 3 // deaths in a row before the first delay
)

// lost is told that a process of wardd has ended, and reports whether the
// system must. Gates that are there go on whatever has died.
func (h *holder) lost(c *child) (end bool) {
	slot := h.slot(c)
	if slot == nil {
		return false // it was replaced
	}
	if c == h.monitor {
		// Its last words may be on their way: its end of the channel is closed.
		for !h.silent {
			if h.note(<-h.heard) {
				return true
			}
		}
	}
	if h.deaths[c.name]++; time.Since(c.since) >= steady {
		h.deaths[c.name] = 1
	}
	n := h.deaths[c.name]
	if n > deathsMax {
		h.fail("the %s has ended %d times in a row (%v), each time within %v of its start, so the system stops", c.name, n, c.state, steady)
		return true
	}
	if n == deathsMax/2 && h.fallback != "" {
		h.exe, h.fallback = h.fallback, ""
		h.notice("what was upgraded to does not stay: back to the program before")
	}
	h.notice(fmt.Sprintf("the %s has ended (%v): it is started again; gates that are open go on and are checked", c.name, c.state))
	var delay time.Duration
	if n > spared {
		delay = min(delayMax, 5*time.Millisecond<<(n-spared))
	}
	h.reap()
	time.AfterFunc(delay, func() { h.again <- c.name })
	return false
}

// slot is where a child stands; nil: nowhere any more.
func (h *holder) slot(c *child) **child {
	for _, s := range []**child{&h.monitor, &h.creator, &h.audit} {
		if *s == c {
			return s
		}
	}
	return nil
}

// revive starts a process that has died again.
func (h *holder) revive(name string) error {
	switch name {
	case "audit":
		if err := h.startAudit(); err != nil {
			return err
		}
		h.fromMon.Tell(link.Renewed, "audit") // an error: the monitor has died, and the next one asks nobody
		return nil
	case "creator":
		if err := h.startCreator(); err != nil {
			return err
		}
		end, err := h.toCreate.File()
		if err != nil {
			return err
		}
		defer end.Close()
		h.fromMon.Tell(link.Renewed, "creator", end)
		return nil
	}
	return h.startMonitor()
}

// inEmptyNet calls start with this thread in the monitor's network namespace,
// in which there is nothing but the sockets of gates: all monitors have the same.
func (h *holder) inEmptyNet(start func() error) error {
	const self = "/proc/thread-self/ns/net"
	own, err := os.Open(self)
	if err != nil {
		return err
	}
	defer own.Close()
	if h.net == nil {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("an empty network namespace: %w", err)
		}
		h.net, err = os.Open(self)
	} else {
		err = unix.Setns(int(h.net.Fd()), unix.CLONE_NEWNET)
	}
	if err == nil {
		err = start()
	}
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave the empty network namespace: %w", back)
	}
	return err
}

// upgrade makes the program that stands now where this one was started from
// the one of all later processes, and ends those that run: they are started
// again. Whoever asks cannot name a program. The holder itself goes on.
func (h *holder) upgrade() error {
	path := h.cfg.Program
	for dir := path; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != 0 || st.Mode()&0o022 != 0 && st.Mode()&os.ModeSticky == 0 {
			return fmt.Errorf("%s is not root's alone, so the program that stands at %s is not started", dir, path)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 64) // above those that a child is given
	if err != nil {
		return err
	}
	h.fallback, h.exe = h.exe, fmt.Sprintf("/proc/self/fd/%d", high)
	h.notice("upgrade: the processes are started again, of the program that stands at " + path + " now")
	for _, c := range []*child{h.audit, h.creator, h.monitor} {
		c.process.Kill()
	}
	return nil
}
