package monitor

import (
	"context"
	"syscall"
	"time"

	"ward/audit/event"
)

// kill ends a domain at once.
func (m *Monitor) kill(d *domain) { m.killWhile(m.work.ctx, d) }

// killWhile does so unless that is over (wanted) before the creator can be asked.
func (m *Monitor) killWhile(wanted context.Context, d *domain) {
	ctx, cancel := context.WithTimeout(wanted, killWait)
	defer cancel()
	if err := m.Creator.Signal(ctx, d.id, syscall.SIGKILL); err != nil {
		m.mu.Lock()
		ended := d.state == stateEnded || hasEnded(d.kept.pidfd)
		m.mu.Unlock()
		if ended || wanted.Err() != nil || m.work.drains() { // all are killed then (endDomains), and by the holder
			return
		}
		m.notice(d.id, "cannot be killed: %v", err)
	}
}

// killWait is how long the end of a killed domain may take: the kernel has to
// free what it held.
const killWait = 5 * time.Second

// end is the ordered stop: no new gates and clients, SIGTERM for all domains,
// SIGKILL for those that are left after the grace; the end of delegations, and of all
// that is under way.
func (m *Monitor) end(ctx context.Context) {
	m.mu.Lock()
	m.stopping = true
	m.keepSystem()
	for _, stop := range m.closers {
		stop()
	}
	m.closers = nil
	for path, l := range m.sockets {
		l.close()
		delete(m.sockets, path)
	}
	m.retry()
	m.tellArrivals()
	m.mu.Unlock()
	m.endDomains(ctx)
	m.endAllLent()
	left := m.work.drain()
	m.mu.Lock()
	defer m.mu.Unlock()
	if left > 0 {
		m.notice(event.None, "the system stops before all that was under way has ended (%d left after %v): what that would record is missing", left, m.work.limit)
	}
	m.sweep()
	for _, d := range m.domains { // of those that could not be ended, too: their last records count
		if d.endpoint != nil && d.loads == 0 {
			d.last = m.closeEndpoint(d.endpoint, d.ringID, d.id, 0, "")
			d.endpoint = nil
		}
	}
	e := event.New(event.Stopped)
	if m.failed {
		e.Status = 1
	}
	m.Audit.Event(e)
}

// running lists the domains that have a process and that the creator can end.
// Without a creator the holder ends them.
func (m *Monitor) running() []*domain {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []*domain
	if m.orphaned {
		return nil
	}
	for _, d := range m.everyone() {
		if d.state == stateRunning || d.state == stateStarting && d.exit == nil {
			left = append(left, d)
		}
	}
	return left
}

// await waits until no domain is running, at most for the given time.
func (m *Monitor) await(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for len(m.running()) > 0 {
		select {
		case <-m.changed:
		case <-tick.C:
			m.Reaped() // a creator may have died before it told
		case <-timer.C:
			return
		}
	}
}
