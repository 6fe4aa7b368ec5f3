package monitor

import (
	"cmp"
	"slices"

	"ward/audit/event"
)

// What the monitor does and must be done once by all monitors, it keeps (keep.go);
// that it was done is recorded once, too. Were the record sent before the deed is
// kept, the next monitor would do it again, and record it again; were it sent
// after that, it could be missing. So the record is kept in the same message to
// the holder as the deed, and then sent; a monitor that takes over sends all
// records again that it finds so kept, before anything else. The audit writer
// leaves out those that it has (audit.writer.take).
//
// Such events bear event.Once, and the times of no two of them are the same:
// they are sent in the order of their times, by one monitor and over all monitors,
// because the clock never goes back while the machine runs (CLOCK_BOOTTIME). So
// the writer need know no more than the time of the last one.

// A telling is what is to be recorded of something that is kept.
type telling []event.Event

// add adds an event. Its time is that at which it is kept.
func (t *telling) add(e event.Event) { *t = append(*t, e) }

// keepTold keeps a deed with what is to be recorded of it, which keep puts into the
// message that makes it so, and records it.
//
// Preconditions: m.mu is held; keep calls nothing that does this.
func (m *Monitor) keepTold(t *telling, keep func()) {
	for i := range *t {
		m.stamp(&(*t)[i])
	}
	keep()
	for _, e := range *t {
		m.Audit.Event(e)
	}
	*t = nil // what is kept of the deed from now on is kept without
}

// stamp makes an event one that is recorded once.
//
// Preconditions: m.mu is held until it is sent.
func (m *Monitor) stamp(e *event.Event) {
	m.lastTold = max(m.lastTold+1, event.Now())
	e.Endpoint, e.Time = event.Once, m.lastTold
}

// kept is what is kept of it; nil: nothing is.
func (t telling) kept() (all [][]byte) {
	for i := range t {
		if t[i].Recorded() != 0 {
			all = append(all, t[i].Encode())
		}
	}
	return all
}

// tellLater notes what a monitor before this one kept to be recorded.
func (m *Monitor) tellLater(kept [][]byte) {
	for _, b := range kept {
		if e, err := event.Decode(b); err == nil && e.Recorded() != 0 {
			m.untold.add(e)
		}
	}
}

// tellAgain records what a monitor before this one kept to be recorded, unless it has.
//
// Preconditions: m.mu is held; the audit writer was introduced to what the events name;
// this monitor has recorded nothing of this kind.
func (m *Monitor) tellAgain() {
	slices.SortFunc(m.untold, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	for _, e := range m.untold {
		m.lastTold = max(m.lastTold, e.Time)
		m.Audit.Event(e)
	}
	m.untold = nil
	for _, then := range m.whenTold {
		then()
	}
	m.whenTold = nil
}

// Names of what is kept for nothing else.
const (
	keptClosed  = "closed "  // by index: of a gate that a new policy does not allow
	keptChanged = "changed " // of a change of the policy
)

// closed takes over that a gate was recorded as closed.
func (r *restoring) closed(index string, k *Kept) error {
	r.m.tellLater([][]byte{k.Value}) // or nothing: it is recorded
	for g := range r.m.gates {
		if key("", g.Index()) == index {
			g.told = true
			return nil
		}
	}
	r.m.whenTold = append(r.m.whenTold, func() { r.m.drop(k.Name) })
	return nil
}

// changed takes over a change of the policy that is in force, and may not be
// recorded. One that is to be made again is recorded then.
func (r *restoring) changed(_ string, k *Kept) error {
	m := r.m
	e, err := event.Decode(k.Value)
	if err == nil && e.Recorded() == 0 && m.Next == nil {
		m.whenTold = append(m.whenTold, func() { m.tellChanged(e) })
		return nil
	}
	m.tellLater([][]byte{k.Value})
	m.whenTold = append(m.whenTold, func() { m.drop(k.Name) })
	return nil
}

// changing keeps what will be recorded of a change of the policy that comes into
// force, for a monitor after this one. tellChanged records it.
//
// Preconditions: m.mu is held.
func (m *Monitor) changing(e event.Event) { m.putEvent(keptChanged, &e) }

// tellChanged records a change of the policy.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellChanged(e event.Event) {
	t := telling{e}
	m.keepTold(&t, func() { m.putEvent(keptChanged, &t[0]) })
	m.drop(keptChanged)
}

// tellClosed records that a gate was closed.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellClosed(g *gate, e event.Event) {
	if g.told {
		return
	}
	g.told = true
	t := telling{e}
	m.keepTold(&t, func() { m.putEvent(key(keptClosed, g.Index()), &t[0]) })
	m.putEvent(key(keptClosed, g.Index()), nil)
}

// putEvent keeps an event by itself; nil: that it is recorded.
func (m *Monitor) putEvent(name string, e *event.Event) {
	if m.keeper == nil {
		return
	}
	var b []byte
	if e != nil {
		b = e.Encode()
	}
	if err := m.keeper.Put(name, b); err != nil {
		m.notKept(name, err)
	}
}
