package monitor

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// Ends that nobody tells: whoever waits for a process, the creator or the
// holder, may die, or the monitor that was told, before anybody knows. The
// monitor has a descriptor of each process, which says that it has ended, and,
// where the kernel knows it (Linux 6.15), how.

// A Running is a domain that a new creator must know.
type Running struct {
	Domain abi.DomainID
	PID    int
	Pidfd  *os.File // the receiver closes it
	Kin    *Kinship // of a child; nil: of the image

	Processes, Memory uint64 // how often it ran into these limits, as was recorded
}

// A Kinship is what a new creator must know of a child.
type Kinship struct {
	Root    abi.DomainID
	Line    []image.Birth
	Adopted bool
	Until   uint64
}

// Running lists what runs, parents before their children, and the image that is
// in force if it is not the one of the start (the receiver closes it).
func (m *Monitor) Running() (all []Running, sealed *os.File, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.everyone() {
		if d.state != stateRunning || d.kept.pidfd == nil {
			continue
		}
		f, err := dup(d.kept.pidfd)
		if err != nil {
			return nil, nil, errors.Join(err, closeRunning(all))
		}
		r := Running{Domain: d.id, PID: d.process.PID, Pidfd: f, Processes: d.hits.Processes, Memory: d.hits.Memory}
		if k := d.kin; k != nil {
			r.Kin = &Kinship{Root: k.Lineage[len(k.Lineage)-1], Line: k.Line, Adopted: k.Adopted, Until: k.until}
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Running) int { return cmp.Compare(a.Generation(), b.Generation()) })
	if sealed, err = m.imageOfCreator(); err != nil {
		return nil, nil, errors.Join(err, closeRunning(all))
	}
	return all, sealed, nil
}

func closeRunning(all []Running) error {
	var errs []error
	for _, r := range all {
		errs = append(errs, r.Pidfd.Close())
	}
	return errors.Join(errs...)
}

// Generation is 0 of a domain of the image, and one more of each child than of its parent.
func (r *Running) Generation() int {
	if r.Kin == nil {
		return 0
	}
	return len(r.Kin.Line)
}

// Reaped takes the ends of processes that have ended and been waited for, and of
// which nobody has told for a whole turn: what was told and is on its way has
// come by then. It is called every sweepInterval.
func (m *Monitor) Reaped() {
	m.mu.Lock()
	ended := false
	if m.serving {
		ended = m.takeReaped()
	}
	m.mu.Unlock()
	if !ended {
		return
	}
	m.checkDone()
	m.tellChange()
}

// takeReaped does it.
//
// Preconditions: m.mu is held.
func (m *Monitor) takeReaped() (ended bool) {
	var domains []*domain
	var fds []unix.PollFd
	for _, d := range m.everyone() {
		if d.state == stateRunning && d.exit == nil && d.kept.pidfd != nil {
			domains = append(domains, d)
			fds = append(fds, unix.PollFd{Fd: int32(d.kept.pidfd.Fd()), Events: unix.POLLIN})
		}
	}
	before := m.overdue
	m.overdue = map[*domain]bool{}
	if n, err := unix.Poll(fds, 0); n <= 0 || err != nil {
		return false
	}
	for i, d := range domains {
		if fds[i].Revents == 0 || unix.PidfdSendSignal(int(fds[i].Fd), 0, nil, 0) != unix.ESRCH {
			continue // whoever waits for it tells
		}
		if m.overdue[d] = true; !before[d] {
			continue
		}
		status, known := exitOf(d.kept.pidfd)
		if !known {
			d.told.add(noticeOf(d.id, "it has ended, and whoever saw how has died: status %d stands for that", status.ExitStatus()))
		}
		d.exit = &Exit{Domain: d.id, PID: d.process.PID, Status: status}
		m.ended(d)
		ended = true
	}
	return ended
}

// unknownStatus is the status of a process of which nobody knows how it ended.
const unknownStatus = syscall.WaitStatus(255 << 8)

// exitOf asks the kernel how a process ended that was waited for by somebody.
// Source: PIDFD_GET_INFO, include/uapi/linux/pidfd.h; PIDFD_INFO_EXIT since Linux 6.15.
func exitOf(pidfd *os.File) (syscall.WaitStatus, bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(int(pidfd.Fd()), &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return unknownStatus, false
	}
	return syscall.WaitStatus(uint32(info.Exit_code)), true
}
