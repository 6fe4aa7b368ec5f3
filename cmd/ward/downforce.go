package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ward/kernel"
)

// downByForce ends a system whose monitor does not do it, by killing its
// holder: the monitor and the audit writer die with it, the creator reads the end
// of its channel, kills all domains and removes their cgroups. why is what the
// monitor did.
func downByForce(cmd *cobra.Command, dir string, why error) error {
	holder, err := openHolder(dir)
	if err != nil {
		return failed("%w", err)
	}
	if holder == nil && lives(dir) {
		return failed("a system lives in %s, but its first process is not to be seen from here: end it where it was started", dir)
	}
	if holder == nil {
		if os.Geteuid() == 0 && kernel.SystemInUse(nameOf(dir)) {
			return endLeft(cmd, dir)
		}
		clearEndedDir(dir)
		return failed("no system lives in %s: nothing to end", dir)
	}
	defer holder.Close()
	fmt.Fprintf(cmd.ErrOrStderr(), "ward: %v\n", why)
	fmt.Fprintf(cmd.ErrOrStderr(), "ward: killing the first process of %s, %d: all gates close, and all domains are killed without a time of grace\n", nameOf(dir), holder.pid)
	processes := []*process{&holder.process}
	for _, c := range holder.children {
		processes = append(processes, c)
	}
	if err := unix.PidfdSendSignal(holder.fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return failed("kill process %d of %s: %w", holder.pid, nameOf(dir), err)
	}
	end := time.Now().Add(downLimit)
	for i, p := range processes {
		if err := p.await(end); err != nil {
			return failed("%s: process %d has not ended within %v", nameOf(dir), p.pid, downLimit)
		}
		if i == 0 && os.Geteuid() == 0 {
			kernel.EndOrphans(nameOf(dir)) // if the creator was killed before; its domains are the holder's children then
		}
	}
	if os.Geteuid() == 0 && kernel.SystemInUse(nameOf(dir)) {
		return endLeft(cmd, dir)
	}
	clearEndedDir(dir)
	return nil
}

// endLeft ends the domains of a system all of whose wardd was killed, so that nobody
// was left to end them.
func endLeft(cmd *cobra.Command, dir string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "ward: all of wardd of %s was killed, and its domains were left: killing them\n", nameOf(dir))
	if err := kernel.EndOrphans(nameOf(dir)); err != nil {
		return failed("%w", err)
	}
	if kernel.SystemInUse(nameOf(dir)) {
		return failed("processes are left of %s that cannot be ended from here: they are of another PID namespace, or another wardd has the number that theirs had", nameOf(dir))
	}
	clearEndedDir(dir)
	return nil
}

// A process is one that was opened, so that its number cannot become another's.
type process struct{ pid, fd int }

func (p *process) await(end time.Time) error {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, max(0, int(time.Until(end)/time.Millisecond)))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return os.ErrDeadlineExceeded
		default:
			return nil
		}
	}
}

// An openedHolder is a holder with the other processes of wardd, its children.
type openedHolder struct {
	process
	children []*process
}

func (h *openedHolder) Close() {
	unix.Close(h.fd)
	for _, c := range h.children {
		unix.Close(c.fd)
	}
}

// openHolder opens the process that holds the lock on a run directory; nil: there is none.
func openHolder(dir string) (*openedHolder, error) {
	pid, err := holderOf(dir)
	if err != nil || pid == 0 {
		return nil, err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	h := &openedHolder{process: process{pid, fd}}
	// It may have ended between, and its number may be another's now.
	if again, err := holderOf(dir); err != nil || again != pid {
		h.Close()
		return nil, err
	}
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // an error: their end is not waited for
	for _, word := range strings.Fields(string(list)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			continue
		}
		if fd, err := unix.PidfdOpen(child, 0); err == nil {
			h.children = append(h.children, &process{child, fd})
		}
	}
	return h, nil
}
