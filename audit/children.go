package audit

import (
	"fmt"
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/filter"
	"ward/image"
)

// Children have numbers that the image does not know: the monitor says who each
// is, and by which policies its messages are judged. A number may be another
// child's later; records come in order of time, so the last one told is meant.

// Names of events about children and delegations.
const (
	EventSpawned   = "spawned"
	EventLent      = "lent"
	EventLentEnded = "lent-ended"
)

// A kin is a child.
type kin struct {
	label string
	chain []uint32 // as event.Child.List has it
}

// children are all that were told of, shared by translators of one system.
type children map[abi.DomainID]kin

func (c children) name(id abi.DomainID) string { return c[id].label }

// tell notes who a child is, and reports whether that is new.
func (c children) tell(e *event.Event) bool {
	if k, known := c[e.Domain]; known && k.label == e.Text && slices.Equal(k.chain, e.List) {
		return false
	}
	c[e.Domain] = kin{e.Text, e.List}
	return true
}

// chain makes of what the monitor said of a child, or of a gate by a
// delegation, what the filter of a route was made of.
func (t *translator) chain(list []uint32, client abi.DomainID, route uint32) (c filter.Chain, ok bool) {
	if len(list) == 0 || len(list) < 1+2*int(list[0]) || list[0] > filter.MaxLevels || int(route) >= len(t.img.Routes) {
		return c, false
	}
	n := int(list[0])
	r := &t.img.Routes[route]
	c.Client = client
	for i := range n {
		policy, sender := abi.DomainID(list[1+2*i]), abi.DomainID(list[2+2*i])
		at := slices.IndexFunc(t.img.Routes, func(o image.Route) bool {
			return o.Client == policy && o.Server == r.Server && o.Interface == r.Interface
		})
		if at < 0 {
			return c, false
		}
		c.Levels = append(c.Levels, image.Level{Route: uint32(at), Sender: sender})
	}
	for rest := list[1+2*n:]; len(rest) >= 2; rest = rest[2:] {
		if rest[0] == r.Interface {
			c.Methods = append(c.Methods, rest[1])
		}
	}
	slices.Sort(c.Methods)
	return c, len(c.Levels) > 0
}

// chainOf finds the chain of a record: that of the delegation by which its gate
// was opened, or of the child at one of its ends.
func (t *translator) chainOf(k *abi.Record) (c filter.Chain, ok bool) {
	if g := t.guest(k.Gate, k.Time); g != nil && g.lent != nil {
		return t.chain(g.lent, g.borrower, k.Route)
	}
	for _, id := range []abi.DomainID{k.From, k.To} {
		if child, known := t.children[id]; known && id != abi.NoDomain {
			return t.chain(child.chain, id, k.Route)
		}
	}
	return c, false
}

// spawned is a child that was made or refused.
func (t *translator) spawned(r *Record, e *event.Event) {
	r.Event, r.Detail = EventSpawned, e.Text
	reason := e.Reason
	if e.Allow {
		reason, r.UID, r.Ring = abi.ReasonPermit, &e.UID, &e.Ring
	}
	t.decided(r, e.Allow, reason, e.Policy)
	t.limited(r, e, "limit of children")
}

// limited says which limit it was that a request ran into: not one of gates,
// and no policy.
func (t *translator) limited(r *Record, e *event.Event, what string) {
	if !e.Allow && e.Reason == abi.ReasonQuota {
		r.Reason, r.Policy = what, ""
	}
}

// lentBy is a delegation that was made, refused, or has ended.
func (t *translator) lentBy(r *Record, e *event.Event) {
	r.Event, r.Detail = EventLent, e.Text
	if e.Kind == event.LentEnded {
		r.Event = EventLentEnded
		r.Detail = fmt.Sprintf("delegation %d: %s", e.Count, e.Text)
		return
	}
	reason := e.Reason
	if e.Allow {
		reason = abi.ReasonPermit
		r.Detail = fmt.Sprintf("delegation %d: %s", e.Count, e.Text)
	}
	t.decided(r, e.Allow, reason, e.Policy)
	t.limited(r, e, "limit of delegations")
}
