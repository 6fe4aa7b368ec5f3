package holder

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/holder/lifeline"
	"ward/holder/link"
)

// Config says how to run a system.
type Config struct {
	RunDir  string        // the system's own directory
	Image   *os.File      // sealed memfd
	Life    *os.File      // life line
	Program string        // path of this program, for an upgrade
	Args    []string      // arguments that every process of wardd gets after its name
	Grace   time.Duration // that the monitor gives the domains at the end

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
	events   *os.File   // the other side: what was not read yet outlives a writer

	kept   store
	guards []guard  // of domains
	crowd  int      // so many guards are there before those of ended domains are looked for
	ends   []string // of domains that nobody else could wait for: PID and wait status
	bound  []string // socket paths

	net      *os.File // the monitor's network namespace
	exe      string   // what is executed; fallback: what was before an upgrade
	fallback string
	starts   int            // of monitors
	deaths   map[string]int // in a row, by name
	again    chan string    // what is to be started again

	silent  bool // the monitor's channel has ended
	done    bool // the monitor has ended the system in order
	status  byte
	fatal   string
	heard   chan heard
	endings chan *child
}

// A guard is the first process of a domain.
// fewGuards are not worth a look.
const fewGuards = 16

type guard struct {
	pid   int
	pidfd *os.File
}

type heard struct {
	from  *link.Conn
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
	h := &holder{cfg: cfg, exe: "/proc/self/exe", deaths: map[string]int{}, again: make(chan string, 4),
		heard: make(chan heard), endings: make(chan *child, 4)}
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
	lifeline.Write(cfg.Life, lifeline.Report{Kind: lifeline.Stopped, Status: h.status})
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
		lifeline.Write(h.cfg.Life, lifeline.Report{Kind: lifeline.Fatal, Status: 1, Text: h.fatal})
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
	var err error
	if h.toAudit, h.events, err = link.Pair("audit"); err != nil {
		return err
	}
	if err := h.startAudit(); err != nil {
		return err
	}
	if err := h.startCreator(); err != nil {
		return err
	}
	return h.startMonitor()
}

func (h *holder) startAudit() (err error) {
	h.audit, err = h.spawn("audit", dies, h.events)
	return err
}

// startCreator starts the creator. It does not die with the holder: it has
// domains to end first.
func (h *holder) startCreator() error {
	conn, theirs, err := link.Pair("creator")
	if err != nil {
		return err
	}
	defer theirs.Close()
	if h.toCreate != nil {
		h.toCreate.Close()
	}
	h.toCreate = conn
	h.creator, err = h.spawn("creator", lives, theirs)
	return err
}

// startMonitor starts a monitor, and gives it what the one before had.
func (h *holder) startMonitor() error {
	conn, theirs, err := link.Pair("monitor")
	if err != nil {
		return err
	}
	defer theirs.Close()
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
	if h.fromMon != nil {
		h.fromMon.Close()
	}
	h.fromMon, h.silent = conn, false
	h.starts++
	if h.monitor, err = h.spawn("monitor", dies|netless, theirs, creator, audit); err != nil {
		return err
	}
	go h.hear(conn)
	for _, e := range h.ends {
		conn.Tell(link.Orphan, e)
	}
	if err := h.kept.give(conn); err != nil {
		h.monitor.process.Kill() // if it is not dead anyway
	}
	return nil
}

// watch serves the children until the system is to end.
func (h *holder) watch(signals <-chan os.Signal) {
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
		case name := <-h.again:
			if err := h.revive(name); err != nil {
				h.fail("the %s cannot be started again, so the system stops: %v", name, err)
				return
			}
		}
	}
}

func (h *holder) hear(from *link.Conn) {
	for {
		m := heard{from: from}
		m.kind, m.text, m.files, m.err = from.Hear()
		h.heard <- m
		if m.err != nil {
			return
		}
	}
}

// note takes what the monitor says, and reports whether the system is to end.
func (h *holder) note(m heard) (end bool) {
	if m.from != h.fromMon {
		link.CloseAll(m.files)
		return false
	}
	if m.err != nil {
		h.silent = true // it has ended: that is seen by its process
		return false
	}
	switch m.kind {
	case link.Put:
		if err := h.kept.put(m.text, m.files); err != nil {
			h.fail("%v, so the system stops", err)
			return true
		}
	case link.Drop:
		h.kept.drop(m.text)
	case link.Guard:
		pid, _ := strconv.Atoi(m.text)
		for _, f := range m.files {
			h.guards = append(h.guards, guard{pid, f})
		}
		if len(h.guards) > h.crowd { // so that each start looks at a few, however many run
			h.reap()
			h.crowd = 2*len(h.guards) + fewGuards
		}
	case link.Bound:
		if !slices.Contains(h.bound, m.text) {
			h.bound = append(h.bound, m.text)
		}
	case link.Ready:
		lifeline.Write(h.cfg.Life, lifeline.Report{Kind: lifeline.Ready})
	case link.Upgrade:
		if err := h.upgrade(); err != nil {
			h.notice("no upgrade: " + err.Error())
		}
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
	h.kept.close()
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
	for _, g := range h.guards {
		unix.PidfdSendSignal(int(g.pidfd.Fd()), unix.SIGKILL, nil, 0) // an error: it has just ended
	}
	for _, g := range h.guards {
		ended(g.pidfd, killWait)
	}
	h.reap()
}

// sweep removes the cgroups of a creator that could not do it itself.
func (h *holder) sweep() {
	if h.creator == nil || h.creator.state.Success() && h.deaths["creator"] == 0 {
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

// maxEnds bounds what is remembered of domains that came to the holder.
const maxEnds = 1024

// reap forgets the domains that have ended, and takes the status of those that
// came to the holder because their creator died: the monitor is told.
func (h *holder) reap() {
	h.guards = slices.DeleteFunc(h.guards, func(g guard) bool {
		if !ended(g.pidfd, 0) {
			return false
		}
		var status unix.WaitStatus
		fd := int(g.pidfd.Fd())
		if unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil {
			unix.Wait4(g.pid, &status, unix.WNOHANG, nil)
			e := fmt.Sprintf("%d %d", g.pid, status)
			h.ends = append(h.ends[max(0, len(h.ends)-maxEnds):], e)
			if h.fromMon != nil {
				h.fromMon.Tell(link.Orphan, e)
			}
		} else if unix.PidfdSendSignal(fd, 0, nil, 0) == nil {
			return false // its creator has not waited for it yet, and may die first
		}
		g.pidfd.Close()
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
