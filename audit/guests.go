package audit

import (
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/filter"
)

// gateHistory is how many successive gates with one number are remembered:
// the records of an ended gate may come after the next one was opened.
const gateHistory = 4

// A guest is the user at a gate.
type guest struct {
	since uint64
	label string
	uid   uint32
	atoms filter.Atoms

	lent     []uint32 // of a gate by a delegation: the chain of its policies (children.go)
	borrower abi.DomainID
	name     string // in whose name
}

// guestOf is who is at a gate, by what the monitor says of it; false: nobody who must be
// remembered.
func (t *translator) guestOf(e *event.Event) (guest, bool) {
	g := guest{since: e.Time}
	switch {
	case !e.Allow:
		return g, false
	case e.From == abi.NoDomain:
		g.label, g.uid, g.atoms = userLabel(e.UID, e.Text), e.UID, filter.Atoms{User: -1}
		if len(e.List) > 0 {
			g.atoms.User = int(e.List[0]) - 1
			for _, v := range e.List[1:] {
				g.atoms.Groups = append(g.atoms.Groups, int(v))
			}
		}
	case e.Text != "": // by a delegation
		g.lent, g.borrower, g.name = e.List, e.From, e.Text
	case len(t.gates[e.Gate]) == 0 && len(e.List) == 0:
		return g, false // a domain's own, whose number is that of no such gate before
	}
	return g, true
}

// same reports whether two are the same one, but for the time.
func (g *guest) same(o *guest) bool {
	return g.label == o.label && g.uid == o.uid && g.atoms.User == o.atoms.User && slices.Equal(g.atoms.Groups, o.atoms.Groups) &&
		g.borrower == o.borrower && g.name == o.name && slices.Equal(g.lent, o.lent)
}

// enter notes who is at a gate from the time of an event on, and reports whether that is
// new. Who is told of as known has been there for a time that the monitor does not know:
// if nothing was said of the gate before, then always.
func (t *translator) enter(e *event.Event) bool {
	g, ok := t.guestOf(e)
	if !ok {
		return false
	}
	history := t.gates[e.Gate]
	switch {
	case len(history) > 0:
		last := &history[len(history)-1]
		if g.since <= last.since || e.Kind == event.Known && g.same(last) {
			return false
		}
	case e.Kind == event.Known:
		g.since = 0
	}
	history = append(history, g)
	t.gates[e.Gate] = history[max(0, len(history)-gateHistory):]
	return true
}

// entered is when who is at a gate now came there.
func (t *translator) entered(gate uint32) uint64 {
	history := t.gates[gate]
	return history[len(history)-1].since
}

// guest finds who was the user of a gate at a time.
func (t *translator) guest(gate uint32, at uint64) *guest {
	history := t.gates[gate]
	for i := len(history) - 1; i >= 0; i-- {
		if history[i].since <= at {
			return &history[i]
		}
	}
	return nil
}
