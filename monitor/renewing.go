package monitor

import (
	"context"
	"errors"
	"os"

	"ward/audit/event"
)

// The creator is given a new image before the monitor decides by it: else it
// would refuse to start what is new. In between, either may die, and whoever
// comes in its place must end up with the same image as the other.

// keptRenewing is kept while the creator may have another image than the one
// that is in force.
const keptRenewing = "renewing"

// renewing notes that the creator is about to have an image that is not in
// force yet. A creator that comes from now on, in place of one that dies, is given it.
func (m *Monitor) renewing(sealed *os.File) error {
	f, err := dup(sealed)
	if err != nil {
		return err
	}
	m.giving.stop() // else the creator could be given the old image after this one
	m.mu.Lock()
	defer m.mu.Unlock()
	m.coming = f
	m.put(keptRenewing, nil)
	return nil
}

// settled ends that: the image is in force, or will not be.
//
// Preconditions: m.mu is held.
func (m *Monitor) settled() {
	if m.coming != nil {
		m.coming.Close()
		m.coming = nil
	}
}

// A givingBack gives the creator the image in force, beside the change that was not made.
type givingBack struct {
	cancel context.CancelFunc
	over   chan struct{} // closed when it has ended
}

// stop ends it, if there is one, and waits until it asks nothing any more.
func (g *givingBack) stop() {
	if g.cancel != nil {
		g.cancel()
		<-g.over
	}
}

// giveBack gives the creator the image in force again, after a change that is not made. Who asked
// for that may have waited long enough, as for a creator that does not answer: then it is given
// beside this, as long as the monitor runs, unless another change comes first.
//
// Preconditions: Monitor.loader is held.
func (m *Monitor) giveBack(ctx context.Context) error {
	err := m.Creator.Renew(ctx, m.Sealed)
	if err == nil {
		m.drop(keptRenewing)
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	sealed, err := dup(m.Sealed)
	if err != nil {
		return err
	}
	own, cancel := context.WithCancel(m.work.ctx)
	g := givingBack{cancel, make(chan struct{})}
	m.giving = g
	m.work.run(func() { // begins: the change is under way
		defer close(g.over)
		defer cancel()
		defer sealed.Close()
		err := m.Creator.Renew(own, sealed)
		switch {
		case own.Err() != nil: // the next change does it, or the system stops
		case err != nil:
			m.notice(event.None, "the creator does not take the policy back that is in force, and may have that of a change that was not made: %v", err)
		default:
			m.drop(keptRenewing)
		}
	})
	return nil
}

// imageOfCreator returns the image that a new creator must have, or nil if it is
// the one that it was started with. The receiver closes it.
//
// Preconditions: m.mu is held.
func (m *Monitor) imageOfCreator() (*os.File, error) {
	switch {
	case m.coming != nil:
		return dup(m.coming)
	case m.changedImage && m.Sealed != nil:
		return dup(m.Sealed)
	}
	return nil, nil
}

// renewed takes over from a monitor that died while the creator may have had an
// image that did not come into force: it is given the one that is.
func (r *restoring) renewed(string, *Kept) error {
	if r.m.Sealed == nil {
		return errors.New("there is no descriptor of the image")
	}
	r.m.changedImage = true
	return nil
}
