package monitor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/image"
)

// Supervision: domains are started after what they need, started again after
// they ended, and stopped with a time of grace.

const (
	restartDelay = 100 * time.Millisecond // before the first restart in a row; doubled each time
	namesDelay   = time.Millisecond       // … before the name server's second one, which all others need: the first is at once
	namesSteady  = 200 * time.Millisecond // … after which its end is the first one in a row again
	namesKills   = 100                    // ends by SIGKILL in a row that are not counted as such
	restartMax   = 30 * time.Second       // … up to this
	restartLimit = 20                     // restarts in a row; then the domain stays ended
	steadyTime   = time.Minute            // after which an end is the first one in a row again
	needWait     = 10 * time.Second       // for what a domain needs to be ready
)

// laterRings is the first endpoint number of rings that are not those of a
// domain's first start: each start and each ring of refused addresses has its own.
const laterRings = 1 << 31

// A life is what is known of a domain beside one process of it.
type life struct {
	restarts uint32    // so far
	row      int       // restarts in a row
	kills    int       // … of a name server, after kills from outside, which are not among them
	again    bool      // it has ended and is going to be started again
	began    time.Time // the last start
	reason   string    // of the last end
	says     string    // of itself (STATUS= of sd_notify)

	ringID    uint32        // endpoint number of its ring
	refusalID uint32        // of its ring of refused addresses; 0: none
	notify    *os.File      // from it; nil: none
	isReady   bool          // ready is closed
	ready     chan struct{} // closed when it is ready, or has ended
}

// setReady notes that a domain is ready, or never will be.
//
// Preconditions: m.mu is held.
func (d *domain) setReady() {
	if !d.isReady {
		d.isReady = true
		close(d.ready)
	}
}

// checkReady notes whether a running domain is ready: when it says so, if it is to; when
// it serves the first of what it may publish; else at once. The others it may
// publish when it likes: who opens a gate to one waits for it.
//
// Preconditions: m.mu is held.
func (d *domain) checkReady() {
	if d.state != stateRunning || d.def.Notify {
		return
	}
	publishes := false
	for _, e := range d.def.Exports {
		if e.Publish.Allow && d.served[e.Interface] {
			d.setReady()
			return
		}
		publishes = publishes || e.Publish.Allow
	}
	if !publishes {
		d.setReady()
	}
}

// awaitNeeds waits until what d needs is ready.
func (m *Monitor) awaitNeeds(d *domain) {
	limit := m.NeedWait
	if limit == 0 {
		limit = needWait
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	for _, name := range d.def.Needs {
		m.mu.Lock()
		need := m.byName[name]
		skip := need == nil || need.state == stateRefused || need.state == stateWaiting // that one waits for us: a circle
		m.mu.Unlock()
		if skip {
			continue
		}
		select {
		case <-need.ready:
		case <-m.stop:
			return
		case <-late.C:
			m.notice(d.id, "started though %s is not ready after %v", name, limit)
			return
		}
	}
}

// guardControl takes the domain's end of its control channel a name that nobody knows: a
// socket that has one cannot be given another, so a domain that may bind
// sockets cannot use this one to squat names.
func guardControl(d *image.Domain, theirs *os.File) error {
	if !slices.ContainsFunc(d.Listen, func(l image.Listen) bool { return l.Self }) {
		return nil
	}
	if err := unix.Bind(int(theirs.Fd()), &unix.SockaddrUnix{}); err != nil {
		return fmt.Errorf("control channel: %w", err)
	}
	return nil
}

// arrived takes what the creator gave along with a new process.
//
// Preconditions: m.mu is held; d is running.
func (m *Monitor) arrived(d *domain, p Process) {
	d.began = time.Now()
	if p.Ring != nil {
		d.refusalID = m.nextRing()
		r := event.New(event.Ring)
		r.Endpoint, r.Domain = d.refusalID, d.id
		m.Audit.Event(r, p.Ring)
		m.keepLife(d)
	}
	if p.Notify != nil {
		d.notify = p.Notify
		m.keepLife(d)
		go m.hearNotify(d, p.Notify)
	}
	d.checkReady()
	m.keepNow(d)
}

func (m *Monitor) nextRing() uint32 {
	m.rings++
	m.keepSystem()
	return laterRings + m.rings
}

// left clears up after a process, and plans the next one. What is to be recorded of
// that is kept with the domain next.
//
// Preconditions: m.mu is held; d has just ended.
func (m *Monitor) left(d *domain) (again bool) {
	if d.notify != nil {
		d.notify.Close()
		d.notify = nil
	}
	if d.refusalID != 0 {
		gone := event.New(event.RingGone)
		gone.Endpoint, gone.Count = d.refusalID, d.exit.Refused
		m.Audit.Event(gone)
		d.refusalID = 0
	}
	if d.exit != nil {
		d.reason = exitReason(d.exit.Status)
	}
	if !m.wanted(d) {
		d.setReady()
		return false
	}
	if time.Since(d.began) >= steadyTime || d.def.Names && time.Since(d.began) >= namesSteady {
		d.row, d.kills = 0, 0
	}
	killed := d.killedOutside()
	if d.row >= restartLimit && !killed {
		d.told.add(noticeOf(d.id, "%s; it ended %d times in a row, so it is not started again", d.reason, d.row+1))
		d.setReady()
		return false
	}
	delay := m.delay(d)
	d.row++
	if killed { // it is the first in a row, and never more than that
		d.kills++
		d.row = max(d.row-1, 1)
	}
	when := "at once"
	if delay > 0 {
		when = "in " + delay.String()
	}
	d.told.add(noticeOf(d.id, "%s; it is started again %s", d.reason, when))
	d.again = true
	m.work.after(delay, func() { m.restart(d) })
	return true
}

// killedOutside reports whether a name server was killed from outside, as a process of
// wardd may be at any moment: that says nothing of it, and all others need it. A domain is
// not able to kill it; the kernel is, where it uses too much memory, and
// it may kill itself: so that is bounded.
//
// Preconditions: m.mu is held; d has just ended.
func (d *domain) killedOutside() bool {
	return d.def.Names && d.exit != nil && d.exit.Status.Signal() == syscall.SIGKILL && d.kills < namesKills
}

// delay is the time before the next start of a domain that has ended. The name
// server's first one in a row comes at once, and so do those after kills.
func (m *Monitor) delay(d *domain) time.Duration {
	delay, doubled := restartDelay, d.row
	switch {
	case m.RestartDelay > 0:
		delay = m.RestartDelay
	case d.def.Names && (d.row == 0 || d.row == 1 && d.killedOutside()):
		return 0
	case d.def.Names:
		delay, doubled = namesDelay, d.row-1
	}
	for range min(doubled, 16) {
		delay = min(2*delay, restartMax)
	}
	return delay
}

// wanted reports whether a domain that has ended is to be started again.
func (m *Monitor) wanted(d *domain) bool {
	switch {
	case d.kin != nil || m.stopping || m.orphaned || m.domains[d.id] != d || d.hostile || !d.def.Start.Allow:
		return false
	case d.def.Names, d.def.Restart == image.RestartAlways:
		return true
	case d.def.Restart == image.RestartOnFailure:
		return d.status != 0
	}
	return false
}

// restart starts a domain again, as a new one: the gates of the old process go
// on being closed, with the old one's endpoint and programs.
func (m *Monitor) restart(old *domain) {
	m.mu.Lock()
	if m.stopping || m.orphaned || m.domains[old.id] != old {
		m.mu.Unlock()
		return
	}
	d := newDomain(m.Image, old.id)
	d.limit, d.share = old.limit, old.share
	d.restarts, d.row, d.kills, d.reason = old.restarts+1, old.row, old.kills, old.reason
	d.ringID = m.nextRing()
	// Who waits for the old one waits for the new one.
	d.ready, d.isReady = old.ready, old.isReady
	m.domains[d.id], m.byName[d.def.Name] = d, d
	for i, r := range m.loaded {
		if m.Image.Routes[i].Client == d.id || m.Image.Routes[i].Server == d.id {
			m.stale = append(m.stale, r)
			delete(m.loaded, i)
		}
	}
	m.unchain(old)
	if old.endpoint == nil {
		m.dropLife(old)
	}
	m.keepLife(d)
	m.closeStale()
	d.began = time.Now()
	m.retire(old)
	if d.def.Names {
		m.hasten(d)
	}
	m.mu.Unlock()
	if err := m.startDomain(m.work.ctx, d); err != nil {
		m.mu.Lock()
		d.reason = err.Error()
		half := d.state == stateStarting // there is a process that has no endpoint
		if half {
			m.work.run(func() { m.kill(d) })
		}
		d.state = stateEnded
		m.left(d)
		m.keepTold(&d.told, func() {
			if !half { // else the next monitor takes the start back, and begins it again
				m.keepLife(d)
			}
		})
		m.mu.Unlock()
	}
	m.mu.Lock()
	if d.def.Names {
		m.hastened(d)
	}
	m.retry()
	m.mu.Unlock()
	m.checkDone()
}

// exitReason says in words how a process ended.
func exitReason(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by signal " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("ended with status %d", s.ExitStatus())
}

// lives reports whether a domain runs, or is going to.
//
// Preconditions: m.mu is held.
func (d *domain) lives() bool {
	return d.again || d.state != stateEnded && d.state != stateRefused
}

// grace is the time between SIGTERM and SIGKILL for a domain.
func (m *Monitor) grace(d *domain) time.Duration {
	if d.def.Grace > 0 {
		return time.Duration(d.def.Grace)
	}
	return m.Grace
}

// endDomains asks all domains to end, and kills those that are left after
// their time of grace, with all that they started: it is in their PID namespace. A
// domain that a change of the policy has asked before is not asked again.
func (m *Monitor) endDomains(ctx context.Context) {
	began, since := time.Now(), event.Now()
	m.signalAll(ctx, m.unasked(), syscall.SIGTERM)
	graces := []time.Duration{}
	for _, d := range m.running() {
		graces = append(graces, m.graceSince(d, since))
	}
	slices.Sort(graces)
	for _, g := range slices.Compact(graces) {
		m.await(time.Until(began.Add(g)))
		var late []*domain
		for _, d := range m.running() {
			if m.graceSince(d, since) <= g {
				late = append(late, d)
			}
		}
		m.signalAll(ctx, late, syscall.SIGKILL)
	}
	m.await(killWait)
}

func (m *Monitor) signalAll(ctx context.Context, list []*domain, sig syscall.Signal) {
	for _, d := range list {
		// The context bounds a creator that does not answer.
		signalCtx, cancel := context.WithTimeout(ctx, killWait)
		m.Creator.Signal(signalCtx, d.id, sig) // an error: it has just ended, or the creator has; the holder kills it then
		cancel()
	}
}
