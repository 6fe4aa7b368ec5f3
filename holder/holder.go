package holder

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/holder/link"
)

// Config says how to run a system.
type Config struct {
	RunDir string        // the system's own directory
	Image  *os.File      // sealed memfd
	Life   *os.File      // life line
	Args   []string      // arguments that every process of wardd gets after its name
	Grace  time.Duration // that the monitor gives the domains at the end

	Privileged func(func() error) error // runs what takes more capabilities than the holder has at other times
}

// How long the holder waits for a process to end before it kills it.
const (
	monitorWait = 15 * time.Second // beyond the grace
	creatorWait = 15 * time.Second
	auditWait   = 10 * time.Second
	killWait    = 5000 // ms, for the kernel to free what a killed domain held
)

// A holder is the state of the process.
type holder struct {
	cfg      Config
	monitor  *child
	creator  *child
	audit    *child
	fromMon  *link.Conn // the monitor's channel
	toCreate *link.Conn // the monitor's side of the creator's channel: it ends when both are gone
	toAudit  *link.Conn // the monitor's side of the audit writer's channel

	kept   []*os.File // descriptors on which gates depend
	guards []*os.File // pidfds of domains
	bound  []string   // socket paths

	silent  bool // the monitor's channel has ended
	done    bool // the monitor has ended the system in order
	status  byte
	fatal   string
	heard   chan heard
	endings chan *child
}

type heard struct {
	kind  link.Kind
	text  string
	files []*os.File
	err   error
}

// Run runs a system until its end and returns the exit status.
//
// Preconditions: the caller is on the process's main thread, locked to it:
// children die with the thread that started them.
func Run(cfg Config) int {
	h := &holder{cfg: cfg, heard: make(chan heard), endings: make(chan *child, 4)}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	signal.Ignore(unix.SIGPIPE)
	dir, err := lockDir(cfg.RunDir)
	if err == nil {
		defer dir.Close()
		err = h.start()
	}
	if err != nil {
		h.fail("%v", err)
	} else {
		h.watch(signals)
	}
	h.end()
	WriteReport(cfg.Life, Report{Kind: Stopped, Status: h.status})
	return int(h.status)
}

// lockDir makes the run directory and locks it: one system at a time.
func lockDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, fmt.Errorf("a system with this name is running already (%s is locked): stop it with `ward down`, or give this one another name", path)
	}
	return dir, nil
}

// fail notes why the system stops.
func (h *holder) fail(format string, args ...any) {
	h.status = 1
	if h.fatal == "" {
		h.fatal = fmt.Sprintf(format, args...)
		WriteReport(h.cfg.Life, Report{Kind: Fatal, Status: 1, Text: h.fatal})
	}
}

// notice puts a line into the audit log.
func (h *holder) notice(text string) {
	if h.toAudit != nil {
		e := event.New(event.Notice)
		e.Text = text
		h.toAudit.Try(e.Encode())
	}
}

// start starts the three processes, each with the descriptors that it needs.
func (h *holder) start() error {
	if err := link.Sealed(h.cfg.Image); err != nil {
		return err
	}
	// Orphans of a creator that died come here.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	var theirs [3]*os.File
	for i, c := range []**link.Conn{&h.fromMon, &h.toCreate, &h.toAudit} {
		var err error
		if *c, theirs[i], err = link.Pair([]string{"monitor", "creator", "audit"}[i]); err != nil {
			return err
		}
		defer theirs[i].Close()
	}
	creator, err := h.toCreate.File()
	if err != nil {
		return err
	}
	defer creator.Close()
	audit, err := h.toAudit.File()
	if err != nil {
		return err
	}
	defer audit.Close()
	if h.audit, err = h.spawn("audit", dies, theirs[2]); err != nil {
		return err
	}
	// The creator does not die with the holder: it has domains to end first.
	if h.creator, err = h.spawn("creator", lives, theirs[1]); err != nil {
		return err
	}
	h.monitor, err = h.spawn("monitor", dies|netless, theirs[0], creator, audit)
	return err
}

// watch serves the children until the system is to end.
func (h *holder) watch(signals <-chan os.Signal) {
	go h.hear()
	life := make(chan struct{})
	go func() {
		var b [1]byte
		h.cfg.Life.Read(b[:]) // nobody writes to it: it returns at the end
		close(life)
	}()
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, unix.SIGCHLD)
	for {
		select {
		case <-signals:
			return
		case <-life:
			return
		case <-orphans:
			h.reap()
		case m := <-h.heard:
			if h.note(m) {
				return
			}
		case c := <-h.endings:
			if h.lost(c) {
				return
			}
		}
	}
}

func (h *holder) hear() {
	for {
		var m heard
		m.kind, m.text, m.files, m.err = h.fromMon.Hear()
		h.heard <- m
		if m.err != nil {
			return
		}
	}
}

// note takes what the monitor says, and reports whether the system is to end.
func (h *holder) note(m heard) (end bool) {
	if m.err != nil {
		h.silent = true // it has ended: that is seen by its process
		return false
	}
	switch m.kind {
	case link.Keep:
		h.kept = append(h.kept, m.files...)
	case link.Guard:
		h.guards = append(h.guards, m.files...)
		h.reap()
	case link.Bound:
		h.bound = append(h.bound, m.text)
	case link.Ready:
		WriteReport(h.cfg.Life, Report{Kind: Ready})
	case link.Fatal:
		h.fail("%s", m.text)
	case link.Done:
		h.done = true
		if m.text != "" && h.status == 0 {
			h.status = m.text[0]
		}
		return true
	}
	return false
}

// lost is told that a process of wardd has ended, and reports whether the
// system must. Without a monitor it need not: the gates that are there go on,
// and nothing new is granted.
func (h *holder) lost(c *child) (end bool) {
	how := fmt.Sprintf("the %s has ended unexpectedly (%v)", c.name, c.state)
	if c == h.monitor {
		// Its last words may be on their way: its end of the channel is closed.
		for !h.silent {
			if h.note(<-h.heard) {
				return true
			}
		}
		h.status = 1
		h.notice(how + ": gates that are open go on and are checked; nothing new is granted until the system is started again")
		return false
	}
	h.fail("%s, so the system stops", how)
	return true
}

// end puts everything in order: the monitor ends the domains, the creator
// removes what it made, the audit writer writes the rest.
func (h *holder) end() {
	if h.monitor.alive() {
		h.fromMon.Tell(link.Stop, "")
		h.await(h.monitor, h.cfg.Grace+monitorWait)
	}
	h.stop(h.monitor, time.Second)
	if h.toCreate != nil {
		h.toCreate.CloseSoon() // kills what is left
		h.stop(h.creator, creatorWait)
	}
	h.kill()
	h.sweep()
	link.CloseAll(h.kept)
	for _, path := range h.bound {
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
			os.Remove(path)
		}
	}
	if h.toAudit != nil {
		if !h.done {
			e := event.New(event.Stopped)
			e.Status, e.Text = int32(h.status), h.fatal
			h.toAudit.Send(e.Encode(), time.Second)
		}
		h.toAudit.CloseSoon()
		h.stop(h.audit, auditWait)
	}
}

// kill ends the domains that the creator did not, because it died.
func (h *holder) kill() {
	h.reap()
	for _, pidfd := range h.guards {
		unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0) // an error: it has just ended
	}
	for _, pidfd := range h.guards {
		ended(pidfd, killWait)
	}
	h.reap()
}

// sweep removes the cgroups of a creator that could not do it itself.
func (h *holder) sweep() {
	if h.creator == nil || h.creator.state.Success() {
		return
	}
	c, err := h.spawn("sweep", dies)
	if err != nil {
		h.notice("cgroups may be left: " + err.Error())
		return
	}
	h.stop(c, creatorWait)
}

// await serves the monitor until it has ended, or for a time.
func (h *holder) await(c *child, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for c.alive() {
		select {
		case m := <-h.heard:
			h.note(m)
		case <-c.ended:
		case <-timer.C:
			h.status = 1
			h.notice("the " + c.name + " does not end; it is killed")
			return
		}
	}
	// What it said last may still be on its way.
	for !h.silent {
		select {
		case m := <-h.heard:
			h.note(m)
		case <-timer.C:
			return
		}
	}
}

// stop waits until a child has ended, and kills it if it does not.
func (h *holder) stop(c *child, limit time.Duration) {
	if !c.alive() {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		h.status = 1
		h.notice("the " + c.name + " does not end; it is killed")
		c.process.Kill()
		<-c.ended
	}
}

// reap forgets the domains that have ended, and takes the status of those that
// came to the holder because the creator died.
func (h *holder) reap() {
	h.guards = slices.DeleteFunc(h.guards, func(pidfd *os.File) bool {
		if !ended(pidfd, 0) {
			return false
		}
		unix.Waitid(unix.P_PIDFD, int(pidfd.Fd()), nil, unix.WEXITED|unix.WNOHANG, nil) // ECHILD: the creator's
		pidfd.Close()
		return true
	})
}

// ended waits at most so many milliseconds for the process of a pidfd to end.
func ended(pidfd *os.File, ms int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, ms)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
