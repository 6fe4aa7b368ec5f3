package holder

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/holder/child"
	"ward/holder/keep"
	"ward/holder/lifeline"
	"ward/holder/link"
)

// Config says how to run a system.
type Config struct {
	Program child.Program            // of the processes; its image is a sealed memfd
	Upgrade func() (*os.File, error) // opens the executable that stands now where this one was started from, as Program.Exe
	Life    *os.File                 // life line
	Stop    <-chan struct{}          // closed when the system is to stop
	Grace   time.Duration            // that the monitor gives the domains at the end; more once it says so
}

// How long the holder waits at the end before it kills, and for what it has killed.
const (
	endWait  = 15 * time.Second
	killWait = 5 * time.Second
)

// maxEnds bounds what is remembered of domains that came to the holder.
const maxEnds = 1024

// A holder is the state of the process.
type holder struct {
	cfg                     Config
	monitor, creator, audit child.Child

	fromMon  *link.Conn // the monitor's channel
	toCreate *link.Conn // the monitor's side of the creator's channel: it ends when both are gone
	toAudit  *link.Conn // the monitor's side of the audit writer's channel
	events   *os.File   // the other side: what was not read yet outlives a writer

	kept  keep.Store
	ends  []string // of domains that nobody else could wait for: PID and wait status
	bound []string // socket paths

	fallback *os.File // the executable before an upgrade

	over     bool // the system is to stop, or does
	done     bool // the monitor has ended the system in order
	status   byte
	fatal    string
	heard    <-chan link.Message // from the monitor
	again    chan *child.Child   // to be started again
	children chan os.Signal
}

// Run runs a system until its end and returns the exit status.
//
// Preconditions: the caller is on the process's main thread, locked to it:
// children die with the thread that started them. Nothing else of this process
// starts a process or waits for one.
func Run(cfg Config) int {
	h := &holder{cfg: cfg, again: make(chan *child.Child, 4), children: make(chan os.Signal, 1)}
	h.audit = child.Child{Name: "audit", Start: h.startAudit}
	h.creator = child.Child{Name: "creator", Start: h.startCreator, Stays: true} // it has domains to end first
	h.monitor = child.Child{Name: "monitor", Start: h.startMonitor, Alone: true}
	signal.Notify(h.children, unix.SIGCHLD)
	if err := h.begin(); err != nil {
		h.fail("%v", err)
	}
	h.serve(0, func() bool { return h.over })
	h.end()
	lifeline.Write(cfg.Life, lifeline.Report{Kind: lifeline.Stopped, Status: h.status})
	return int(h.status)
}

// fail notes why the system stops.
func (h *holder) fail(format string, args ...any) {
	h.over, h.status = true, 1
	if h.fatal == "" {
		h.fatal = fmt.Sprintf(format, args...)
		lifeline.Write(h.cfg.Life, lifeline.Report{Kind: lifeline.Fatal, Status: 1, Text: h.fatal})
	}
}

// notice puts a line into the audit log.
func (h *holder) notice(format string, args ...any) {
	e := event.New(event.Notice)
	e.Text = fmt.Sprintf(format, args...)
	h.toAudit.Try(e.Encode())
}

// begin starts the three processes, each with the descriptors that it needs.
func (h *holder) begin() (err error) {
	if err = link.Sealed(h.cfg.Program.Image); err != nil {
		return err
	}
	// Orphans of a creator that died come here.
	if err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	if h.toAudit, h.events, err = link.Pair("audit"); err != nil {
		return err
	}
	for _, c := range h.all() {
		if err = c.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (h *holder) startAudit() error {
	err := h.audit.Spawn(&h.cfg.Program, h.events)
	if err == nil && h.monitor.PID != 0 {
		h.fromMon.Tell(link.Renewed, "audit") // an error: the monitor has died, and the next one asks nobody
	}
	return err
}

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
	err = h.creator.Spawn(&h.cfg.Program, theirs)
	if err == nil && h.monitor.PID != 0 {
		h.fromMon.Hand(link.Renewed, "creator", conn) // likewise
	}
	return err
}

// startMonitor starts a monitor, and gives it what the one before had.
func (h *holder) startMonitor() error {
	conn, theirs, err := link.Pair("monitor")
	if err != nil {
		return err
	}
	defer theirs.Close()
	if h.fromMon != nil {
		h.fromMon.Close()
	}
	h.fromMon = conn
	if err := h.monitor.Spawn(&h.cfg.Program, theirs, h.toCreate, h.toAudit); err != nil {
		return err
	}
	h.heard = conn.Messages()
	for _, e := range h.ends {
		conn.Tell(link.Orphan, e)
	}
	if err := h.kept.Give(conn); err != nil {
		h.monitor.Fail(err) // if it is not dead anyway
	}
	if h.over {
		conn.Tell(link.Stop, "")
	}
	return nil
}

// serve serves the children until something is so, at most for a time if one is
// given, and reports whether it is.
func (h *holder) serve(limit time.Duration, until func() bool) bool {
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	for !until() {
		select {
		case <-h.cfg.Stop:
			h.over, h.cfg.Stop = true, nil
		case <-h.children:
			h.reap()
		case m, more := <-h.heard:
			if h.note(m); !more {
				h.heard = nil // it has ended: that is seen by its process
			}
		case c := <-h.again:
			if !h.over {
				h.startAgain(c)
			}
		case <-late:
			return false
		}
	}
	return true
}

// note takes what the monitor says.
func (h *holder) note(m link.Message) {
	switch m.Kind {
	case link.Put:
		if err := h.kept.Put(m.Text, m.Files); err != nil {
			h.fail("%v, so the system stops", err)
		}
		return // with the files
	case link.Drop:
		h.kept.Drop(m.Text)
	case link.Bound:
		if !slices.Contains(h.bound, m.Text) {
			h.bound = append(h.bound, m.Text)
		}
	case link.Grace:
		h.cfg.Grace = max(h.cfg.Grace, link.GraceOf(m.Text))
	case link.Ready:
		lifeline.Write(h.cfg.Life, lifeline.Report{Kind: lifeline.Ready})
	case link.Upgrade:
		h.upgrade()
	case link.Fatal:
		h.fail("%s", m.Text)
	case link.Done:
		h.over, h.done = true, true
		if m.Text != "" && h.status == 0 {
			h.status = m.Text[0]
		}
	}
	link.CloseAll(m.Files)
}

// reap takes the status of every child that has ended: of the processes of
// wardd, and of domains that came to the holder because their creator died.
func (h *holder) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
		if i := slices.IndexFunc(h.all(), func(c *child.Child) bool { return c.PID == pid }); i >= 0 {
			h.ended(h.all()[i], status)
			continue
		}
		end := fmt.Sprintf("%d %d", pid, status)
		h.ends = append(h.ends[max(0, len(h.ends)-maxEnds+1):], end)
		if h.monitor.PID != 0 {
			h.fromMon.Tell(link.Orphan, end) // an error: it has just died, and the next one is told
		}
	}
}

// ended lets a process of wardd that has ended be started again, unless the
// system is to stop. Gates that are there go on whatever has died.
func (h *holder) ended(c *child.Child, status syscall.WaitStatus) {
	how, upgraded := c.Ended(status)
	if c == &h.monitor && h.heard != nil {
		h.fromMon.CloseSoon()    // somebody else may have its end
		for m := range h.heard { // its last words may be on their way
			h.note(m)
		}
		h.heard = nil
	}
	switch {
	case h.over:
		h.keepUp(c)
		return
	case upgraded:
		h.notice("upgraded: the %s is replaced; gates that are open go on and are checked", c.Name)
	case c.Lost():
		h.fail("the %s has ended %d times in a row (%s), each time within %v of its start or before it served, so the system stops", c.Name, c.Deaths(), how, child.Steady)
		return
	default:
		h.notice("the %s has ended (%s): it is started again %s; gates that are open go on and are checked", c.Name, how, c.When())
	}
	if c.Shaky() && h.fallback != nil {
		h.cfg.Program.Exe, h.fallback = h.fallback, nil
		h.notice("what was upgraded to does not stay: back to the program before")
	}
	time.AfterFunc(c.Delay(), func() { h.again <- c })
}

// startAgain starts a process in the place of one that has ended.
func (h *holder) startAgain(c *child.Child) {
	if err := c.Start(); err != nil {
		h.fail("the %s cannot be started again, so the system stops: %v", c.Name, err)
	}
}

// keepUp lets a process that was killed be started again though the system stops:
// domains end in order, and it is recorded how they did.
func (h *holder) keepUp(c *child.Child) {
	if c.PID == 0 && c.Status != 0 && !c.Last && !c.Lost() && (c == &h.audit || !h.done && h.fatal == "") {
		h.startAgain(c)
	}
}

// upgrade makes the program that stands now where this one was started from
// the one of all later processes, and ends those that run: they are started
// again. Whoever asks cannot name a program. The holder itself goes on.
func (h *holder) upgrade() {
	exe, err := h.cfg.Upgrade()
	if err != nil {
		h.notice("no upgrade: %v", err)
		h.fromMon.Tell(link.Refused, err.Error()) // an error: who asked has died
		return
	}
	h.fallback, h.cfg.Program.Exe = h.cfg.Program.Exe, exe
	h.notice("upgrade: the processes are started again, of the program that stands at %s now", exe.Name())
	for _, c := range h.all() {
		c.Replace()
	}
}

// end puts everything in order: the monitor ends the domains, the creator
// removes what it made, the audit writer writes the rest.
func (h *holder) end() {
	h.over = true
	for _, c := range h.all() {
		h.keepUp(c)
	}
	if h.monitor.PID != 0 {
		h.fromMon.Tell(link.Stop, "")
		h.await(&h.monitor, h.cfg.Grace+endWait)
	}
	h.creator.Last = true
	h.endCreator()
	h.serve(killWait, func() bool { // what the creator did not end, because it died
		left := child.Others(h.all()...)
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	if h.creator.Status != 0 && h.startCreator() == nil { // another one removes the cgroups
		h.endCreator()
	}
	h.kept.Close()
	for _, path := range h.bound {
		link.RemovePath(path)
	}
	if h.toAudit == nil {
		return
	}
	if !h.done {
		e := event.New(event.Stopped)
		e.Status, e.Text = int32(h.status), h.fatal
		h.toAudit.Send(e.Encode(), time.Second)
	}
	h.toAudit.CloseSoon()
	h.await(&h.audit, endWait)
}

func (h *holder) endCreator() {
	if h.toCreate != nil {
		h.toCreate.CloseSoon() // kills what is left
		h.await(&h.creator, endWait)
	}
}

// await serves until a child has ended, and kills it if it does not in time.
func (h *holder) await(c *child.Child, limit time.Duration) {
	ended := func() bool { return c.PID == 0 }
	if !h.serve(limit, ended) {
		h.status = 1
		h.notice("the %s does not end; it is killed", c.Name)
		c.Last = true
		c.Kill()
		h.serve(0, ended)
	}
}

// all are the processes of wardd.
func (h *holder) all() []*child.Child { return []*child.Child{&h.audit, &h.creator, &h.monitor} }
