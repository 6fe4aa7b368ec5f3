package monitor

import (
	"fmt"

	"ward/abi"
	"ward/objects"
)

// mayRefer reports why a domain cannot have one more reference: it has as many as
// any may, or its family has as many as kinTimes domains. Else one family could
// take all that there are.
//
// Preconditions: m.mu is held.
func (m *Monitor) mayRefer(d *domain) error {
	if err := m.book.CanRefer(d.owner()); err != nil {
		return err
	}
	n := 0
	if root := m.find(abi.DomainID(d.payer())); root != nil {
		n = m.book.Held(root.owner())
	}
	for _, k := range m.children {
		if k.payer() == d.payer() {
			n += m.book.Held(k.owner())
		}
	}
	if most := kinTimes * objects.MaxReferences; n >= most {
		return &objects.Refusal{Reason: abi.ReasonQuota, Text: fmt.Sprintf("this domain and all that come from where it comes from have %d objects open, which is the limit: close some", most)}
	}
	return nil
}
