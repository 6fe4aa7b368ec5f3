package monitor

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"ward/audit/event"
)

// A domain that a change of the policy takes away is asked to end, and killed after its
// own time of grace, as at the end of the system. The change waits for that no longer than
// Config.Grace, because nothing is loaded and no other change is made meanwhile; a domain
// that has more time ends beside it, with no gate that is open.
//
// That it is to end is kept before the image is which does not let it run, so that the
// next monitor ends it at the same time as this one would have. Kept with an image that
// lets it run it means nothing: the change was not made.

// A leave is what a domain has that is to end because of a change. It is kept (nowRecord).
type leave struct {
	Until uint64 // when it is killed, as event.Now
	Asked bool   // it was sent SIGTERM

	stays context.Context    // done when it has ended, or may stay
	end   context.CancelFunc // of stays
}

// leaves notes that d is to end, or (nil) not any more: it has ended, or may stay.
//
// Preconditions: m.mu is held.
func (d *domain) leaves(l *leave) {
	if d.leaving != nil {
		d.leaving.end()
	}
	if d.leaving = l; l != nil {
		l.stays, l.end = context.WithCancel(context.Background())
	}
}

// takeAway notes, for the next monitor too, that a domain is to end, unless that is noted.
//
// Preconditions: m.mu is held.
func (m *Monitor) takeAway(d *domain, grace time.Duration) {
	if d.leaving == nil {
		d.leaves(&leave{Until: event.Now() + uint64(grace)})
		m.keepNow(d)
	}
}

// takeAway notes which domains the change takes away, and were not before, with their
// times of grace: those of the image before, for the new one may have none.
//
// Preconditions: m.mu is held.
func (c *switching) takeAway() {
	for _, id := range c.steps.stop {
		d := c.m.domains[id]
		if d.leaving != nil || d.state != stateRunning && d.state != stateStarting {
			continue
		}
		grace := c.m.Grace
		if own := c.before.Domains[id].Grace; own > 0 {
			grace = time.Duration(own)
		}
		c.m.takeAway(d, grace)
		c.leaving = append(c.leaving, d)
	}
}

// stopDomains ends the domains that are taken away.
func (c *switching) stopDomains(ctx context.Context) {
	m := c.m
	m.mu.Lock()
	leaving := make([]*leave, len(c.leaving))
	for i, d := range c.leaving {
		leaving[i] = d.leaving // nil: it has ended
	}
	m.mu.Unlock()
	began := time.Now()
	limits := make([]time.Time, len(leaving))
	for i, l := range leaving {
		if l == nil {
			continue
		}
		limits[i] = began.Add(m.Grace)
		if l.left() <= m.Grace {
			limits[i] = limits[i].Add(killWait)
		}
		m.work.run(func() { m.seeOff(c.leaving[i], l) })
	}
	for i, l := range leaving {
		if l == nil {
			continue
		}
		late := time.NewTimer(time.Until(limits[i]))
		select {
		case <-l.stays.Done():
		case <-late.C:
			m.notice(c.leaving[i].id, "was taken away, and has not ended yet: %s", l.fate())
		case <-m.stop:
		case <-ctx.Done():
		}
		late.Stop()
	}
}

// fate says in words what becomes of it.
func (l *leave) fate() string {
	if left := l.left(); left > 0 {
		return fmt.Sprintf("it is killed in %v", left.Round(time.Millisecond))
	}
	return "it is killed"
}

// left is the time until the domain is killed; 0: it is over.
func (l *leave) left() time.Duration {
	if now := event.Now(); l.Until > now {
		return time.Duration(l.Until - now)
	}
	return 0
}

// seeOff asks a domain to end, waits until it has, and kills it when its time is over: again,
// if a creator dies meanwhile. It returns also if the domain may stay, and when the system stops,
// which ends it (endDomains).
//
// A signal goes to whoever has the domain's number, and may wait for a creator: so none is sent when
// the domain has ended or may stay, for it may have been started again since.
func (m *Monitor) seeOff(d *domain, l *leave) {
	ctx, cancel := context.WithCancel(l.stays)
	defer cancel()
	defer context.AfterFunc(m.work.ctx, cancel)()
	m.askToEnd(ctx, d, l)
	late := time.NewTimer(l.left())
	defer late.Stop()
	for {
		select {
		case <-l.stays.Done():
			return
		case <-m.stop:
			return
		case <-late.C:
		}
		if l.stays.Err() != nil { // that came, too
			return
		}
		m.killWhile(ctx, d)
		late.Reset(killWait)
	}
}

// askToEnd sends SIGTERM, once for all monitors but for one that dies in that moment.
func (m *Monitor) askToEnd(ctx context.Context, d *domain, l *leave) {
	m.mu.Lock()
	asked := l.Asked
	m.mu.Unlock()
	if asked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.left()) // a creator that died is followed by another
	defer cancel()
	if m.Creator.Signal(ctx, d.id, syscall.SIGTERM) != nil { // it has just ended, or is killed when its time is over
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Asked = true
	if d.leaving == l {
		m.keepNow(d)
	}
}

// unasked lists the domains that run, and that no change has asked to end.
func (m *Monitor) unasked() (list []*domain) {
	for _, d := range m.running() {
		m.mu.Lock()
		if d.leaving == nil || !d.leaving.Asked {
			list = append(list, d)
		}
		m.mu.Unlock()
	}
	return list
}

// graceSince is how long after a moment (event.Now) a domain is killed that has not ended:
// its time of grace; or what is left of that, if it was to end before.
func (m *Monitor) graceSince(d *domain, since uint64) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l := d.leaving; {
	case l == nil:
		return m.grace(d)
	case l.Until > since:
		return time.Duration(l.Until - since)
	}
	return 0
}

// A patient is a holder that ends the system in its turn, and is told how long domains may
// take to end.
type patient interface {
	Grace(longest time.Duration) error
}

// tellGrace tells the holder, before a new image is in force, the longest time of grace in it.
func (c *switching) tellGrace() error {
	holder, ok := c.m.Holder.(patient)
	if !ok {
		return nil
	}
	var longest uint64
	for i := range c.img.Domains {
		longest = max(longest, c.img.Domains[i].Grace)
	}
	if err := holder.Grace(time.Duration(longest)); err != nil {
		return fmt.Errorf("tell the first process of wardd how long domains may take to end: %w", err)
	}
	return nil
}
