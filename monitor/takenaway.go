package monitor

import (
	"context"
	"slices"
	"syscall"
	"time"
)

// A domain that a change of the policy takes away is asked to end, and killed after its
// own time of grace, as at the end of the system. The change waits for that no longer than
// Config.Grace, because nothing is loaded and no other change is made meanwhile; a domain
// that has more time ends beside it, with no gate that is open.

// stopDomains ends the domains that are no longer there.
func (c *switching) stopDomains(ctx context.Context) {
	m := c.m
	leaving := c.leaving()
	m.signalAll(ctx, leaving, syscall.SIGTERM)
	began := time.Now()
	over := make([]chan struct{}, len(leaving))
	graces := make([]time.Duration, len(leaving))
	for i, d := range leaving {
		over[i], graces[i] = make(chan struct{}), d.leaving
		m.work.run(func() {
			defer close(over[i])
			m.seeOff(d, graces[i])
		})
	}
	for i, d := range leaving {
		limit := m.Grace
		if graces[i] <= m.Grace {
			limit += killWait
		}
		timer := time.NewTimer(time.Until(began.Add(limit)))
		select {
		case <-over[i]:
		case <-timer.C:
			m.notice(d.id, "was taken away, and has not ended yet: it is killed %v after it was asked to", graces[i])
		case <-m.stop:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// leaving lists the domains that are to end and were not asked to before, and notes their
// times of grace: those that the image before gave them, for the new one has none of who is gone.
func (c *switching) leaving() (list []*domain) {
	for _, d := range c.m.running() {
		if !slices.Contains(c.steps.stop, d.id) {
			continue
		}
		c.m.mu.Lock()
		if d.leaving == 0 {
			d.leaving = c.m.Grace
			if own := c.before.Domains[d.id].Grace; own > 0 {
				d.leaving = time.Duration(own)
			}
			list = append(list, d)
		}
		c.m.mu.Unlock()
	}
	return list
}

// seeOff waits until a domain has ended that was asked to, and kills it after its time of
// grace. When the system stops, that ends it (endDomains).
func (m *Monitor) seeOff(d *domain, grace time.Duration) {
	defer func() {
		m.mu.Lock()
		d.leaving = 0 // it may be let run, and be taken away again
		m.mu.Unlock()
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for killed := false; slices.Contains(m.running(), d); {
		select {
		case <-tick.C:
		case <-m.stop:
			return
		case <-timer.C:
			m.mu.Lock()
			again := d.def.Start.Allow // a change since then lets it run
			m.mu.Unlock()
			if killed || again {
				return
			}
			killed = true
			m.kill(d)
			timer.Reset(killWait)
		}
	}
}
