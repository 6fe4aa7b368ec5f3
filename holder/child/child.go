// Package child starts the processes of wardd, and says when one that has ended
// is started again.
//
// Invariants: a process has no descriptors but those that are listed, an empty
// environment, and a session of its own: Ctrl-C is for the holder.
package child

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Program is what all processes of wardd are started of.
type Program struct {
	Exe   *os.File // a descriptor above those that a process is given
	Image *os.File // becomes link.ImageFD
	Args  []string // after the name of the process
	// Within calls what starts a process with the capabilities that it takes; alone:
	// in a network namespace in which there is nothing but the sockets of gates, always the same.
	Within func(alone bool, start func() error) error
}

// A Child is a process of wardd, and those that come after it in its place.
type Child struct {
	Name  string
	Start func() error // starts it
	Stays bool         // it does not die with the thread that starts it
	Alone bool         // it is in the empty network namespace
	Last  bool         // none comes after it any more

	PID    int                // 0: it does not run
	Status syscall.WaitStatus // of the last end
	Starts int

	since            time.Time // of the last start
	faults, kills    int       // ends in a row that were its own, and others
	replaced, failed bool      // it was killed by Replace, by Fail
}

// A process that dies is started again at once, later and later if it does not
// stay, and at last not at all. One that ends by itself, or by another signal, or
// that the holder kills because it cannot be given what it needs, has a fault. Another
// SIGKILL says nothing of it: no process of wardd sends one, and no domain may; it comes from
// outside, at whatever moment. It may also come from a kernel that is out of memory,
// again and again, which is why there is an end of these, too.
const (
	Steady                        = 500 * time.Millisecond         // who lives that long has come back
	Faults, Kills                 = 20, 200                        // in a row
	spared, sparedKills, delayMax = 3, 100, 250 * time.Millisecond // before the first delay; the longest delay
)

// Unserved is the exit status of a process that could not be brought into service. However
// long that took, it has not come back.
const Unserved = 4

// Spawn starts the program under the child's name: with files from link.FirstFD
// on, and standard error as it is. A second start says --again=NUMBER.
func (c *Child) Spawn(p *Program, files ...interface{ Fd() uintptr }) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{Setsid: true}}
	attr.Files = []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd(), p.Image.Fd()}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	if !c.Stays {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	args := append([]string{"wardd", c.Name}, p.Args...)
	if c.Starts > 0 {
		args = append(args, fmt.Sprintf("--again=%d", c.Starts))
	}
	var pid int
	err = p.Within(c.Alone, func() (err error) {
		pid, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", p.Exe.Fd()), args, attr)
		return err
	})
	if err != nil {
		return fmt.Errorf("start the %s: %w", c.Name, err)
	}
	c.PID, c.since, c.replaced, c.failed = pid, time.Now(), false, false
	c.Starts++
	return nil
}

// Kill kills the process, if it runs.
func (c *Child) Kill() {
	if c.PID != 0 {
		syscall.Kill(c.PID, syscall.SIGKILL)
	}
}

// Fail kills the process because it could not be given what it needs, which is a
// fault, unless err says that it has just been killed by somebody else.
func (c *Child) Fail(err error) {
	c.failed = !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET)
	c.Kill()
}

// Replace kills the process, so that the next start is of another program.
func (c *Child) Replace() {
	c.replaced = c.PID != 0
	c.Kill()
}

// Ended takes the status of the process. The result says for people how it
// ended, if it did by itself.
func (c *Child) Ended(status syscall.WaitStatus) (how string, replaced bool) {
	c.PID, c.Status = 0, status
	if c.replaced || time.Since(c.since) >= Steady && status.ExitStatus() != Unserved {
		c.faults, c.kills = 0, 0
	}
	if status.Signal() == syscall.SIGKILL && !c.failed {
		c.kills++
	} else {
		c.faults++
	}
	if status.Signaled() {
		return "signal: " + status.Signal().String(), c.replaced
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus()), c.replaced
}

// Deaths are how often it has ended in a row.
func (c *Child) Deaths() int { return c.faults + c.kills }

// Shaky reports whether half of what is borne in a row has come, Lost whether all
// has: then it is not started again.
func (c *Child) Shaky() bool { return c.faults == Faults/2 || c.kills == Kills/2 }

// Lost: see Shaky.
func (c *Child) Lost() bool { return c.faults > Faults || c.kills > Kills }

// Delay is the time to wait before the next start.
func (c *Child) Delay() time.Duration {
	steps := max(c.faults-spared, c.kills-sparedKills)
	if steps <= 0 {
		return 0
	}
	return min(delayMax, 5*time.Millisecond<<min(steps, 6))
}

// When says for people when that is.
func (c *Child) When() string {
	if d := c.Delay(); d > 0 {
		return "in " + d.String()
	}
	return "at once"
}

// Others are the children of this process that are none of these: domains of a
// creator that died. As long as nobody takes their status their PIDs stay theirs.
func Others(all ...*Child) (pids []int) {
	self := os.Getpid()
	list, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", self)) // an error: the next creator kills the cgroup
	for _, field := range strings.Fields(string(list)) {
		if pid, err := strconv.Atoi(field); err == nil && !slices.ContainsFunc(all, func(c *Child) bool { return c.PID == pid }) {
			pids = append(pids, pid)
		}
	}
	return pids
}
