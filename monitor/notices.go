package monitor

import "context"

// What the creator tells unasked nobody else knows: a limit that a domain ran into,
// how a process ended. It tells that again, to the next monitor, until it hears
// that it was acted on (creator/notice.go). Each has a number, which is kept with what was
// done, so that what comes again is not done again: the numbers grow, of ends and of limits, in
// the order in which they come, over all creators.

// A Listened is a Creator that tells again what it has not heard of.
type Listened interface {
	// Heard says that what was told under a number is acted on. It does not wait.
	Heard(number uint64)
}

// heard are the numbers of what was acted on last; 0: nothing was.
type heard struct {
	Exits uint64 `json:",omitempty"`
	Hits  uint64 `json:",omitempty"`
}

// later is the later of each.
func (h heard) later(o heard) heard {
	return heard{max(h.Exits, o.Exits), max(h.Hits, o.Hits)}
}

// news notes a number, and reports whether it is none that was acted on. 0 is no number.
func news(last *uint64, number uint64) bool {
	if number == 0 {
		return true
	}
	if number <= *last {
		return false
	}
	*last = number
	return true
}

// watchCreator acts on what the creator tells unasked, one after the other: what a
// domain ran into is told before its end.
func (m *Monitor) watchCreator(ctx context.Context) {
	hits, exits := m.Creator.Hits(), m.Creator.Exits()
	for {
		select {
		case <-ctx.Done():
			return
		case h, ok := <-hits:
			if !ok {
				hits = nil
				continue
			}
			if !m.work.begin() {
				return
			}
			m.tookHit(h)
			m.acted(h.Number)
			m.work.done()
		case x, ok := <-exits:
			if !ok { // the creator has ended: nobody can start or signal domains
				m.mu.Lock()
				m.orphaned = true
				m.mu.Unlock()
				m.Stop()
				return
			}
			if !m.work.begin() {
				return
			}
			m.exited(&x)
			m.acted(x.Number)
			m.work.done()
		}
	}
}

// acted tells the creator.
func (m *Monitor) acted(number uint64) {
	if c, ok := m.Creator.(Listened); ok && number != 0 {
		c.Heard(number)
	}
}

// tookHit acts on a limit that a domain ran into.
func (m *Monitor) tookHit(h Hit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !news(&m.heard.Hits, h.Number) {
		return
	}
	d := m.find(h.Domain)
	if d == nil { // what a child ran into last may be heard after its end, if others tell that
		d = m.gone[h.Domain]
	}
	if d != nil {
		m.hit(d, h)
	}
}

// exited takes the end of a process.
func (m *Monitor) exited(x *Exit) {
	m.mu.Lock()
	if !news(&m.heard.Exits, x.Number) {
		m.mu.Unlock()
		return
	}
	d := m.find(x.Domain)
	if d == nil || d.state == stateRunning && d.process.PID != x.PID { // of a process that was taken to have ended (reaped.go)
		m.mu.Unlock()
		return
	}
	if d.exit == nil || d.state == stateStarting { // that of one before may have come first
		d.exit = x
	}
	if d.state == stateRunning {
		m.ended(d)
	}
	m.mu.Unlock()
	m.checkDone()
	m.tellChange()
}

// of is the end of a process that has just been made, if that was told; nil: what was
// told, or nothing, is the end of one before. Such a one a monitor that died had
// started, and had not come to keep it: its end is told again.
func (x *Exit) of(p *Process) *Exit {
	if x != nil && x.PID != p.PID {
		return nil
	}
	return x
}
