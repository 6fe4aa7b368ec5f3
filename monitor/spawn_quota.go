package monitor

import "ward/image"

// What of a quota a domain's children have, it has not itself: of gates that is
// the monitor's to see to, of the others the creator's (creator/childrenquota.go).

// given is what of a domain's quota its children have; of what nothing limits
// they take nothing.
//
// Preconditions: m.mu is held.
func (m *Monitor) given(d *domain) image.Quota {
	q, own := m.family.Given(d.id), &d.def.Quota
	if own.CPU == 0 {
		q.CPU = 0
	}
	if own.Messages == 0 {
		q.Messages = 0
	}
	return q
}

// gatesOf is how many gates a domain may have open itself.
//
// Preconditions: m.mu is held.
func (m *Monitor) gatesOf(d *domain) int {
	if d.kin != nil && d.def.Children.Number == 0 { // it never had any
		return d.limit
	}
	q := m.given(d)
	return max(0, d.limit-int(q.Gates))
}

// inForce are the bounds of a domain without what its children have of them. Of
// descriptors each process has as many, and of messages the domain's bucket is
// charged with those of its children: neither is less for them.
//
// Preconditions: m.mu is held.
func (m *Monitor) inForce(d *domain) image.Quota {
	q := m.given(d)
	q.Messages = 0
	all := m.Image.LimitsOf(d.def)
	return all.Without(&q)
}
