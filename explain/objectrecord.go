package explain

import (
	"fmt"

	"ward/abi"
	"ward/cases"
)

// whole reports what a record of the event "object" does not say.
func (r *Recorded) whole() error {
	if _, ok := cases.DecidedOn(r.Domain, r.To, r.Object, r.Access); !ok {
		return fmt.Errorf("the record does not say whose right to what it is about: %s", r.Reason)
	}
	return nil
}

// objectRecord explains a record of the event "object".
func (s *System) objectRecord(r *Recorded) ([]Explanation, error) {
	d, _ := cases.DecidedOn(r.Domain, r.To, r.Object, r.Access)
	if r.Verdict == Deny && r.Policy == "" && r.Reason != abi.ReasonDefault.String() {
		return []Explanation{{Event: "explained", Kind: d.Action, From: d.Domain, Object: d.Object, Verdict: Deny, Check: r.Reason, Record: r,
			Why: "no policy decided: the right is there or not, but this was not possible"}}, nil
	}
	all, err := s.Object(ObjectQuestion{From: d.Domain, Action: d.Action, Object: d.Object})
	for i := range all {
		all[i].Record = r
	}
	return all, err
}
