package explain

import (
	"cmp"
	"fmt"

	"ward/abi"
	"ward/cases"
)

// whole reports what a record of the event "object" does not say.
func (r *Recorded) whole() error {
	if r.Domain == "" && r.From == "" {
		return fmt.Errorf("the record does not say who asked: %s", r.Reason)
	}
	return nil
}

// objectRecord explains a record of the event "object".
func (s *System) objectRecord(r *Recorded) ([]Explanation, error) {
	d, ok := cases.DecidedOn(r.Domain, r.To, r.Object, r.Access)
	if !ok || r.Verdict == Deny && r.Policy == "" && r.Reason != abi.ReasonDefault.String() {
		e := Explanation{Event: "explained", Kind: cmp.Or(r.Kind, d.Action), From: cmp.Or(r.From, r.Domain), To: r.To, Object: r.Object, Verdict: r.Verdict, Check: r.Reason, Record: r}
		if e.Verdict == Deny {
			e.Why = "no policy decided: what was asked for was not possible, whoever has a right to it"
		}
		return []Explanation{e}, nil
	}
	all, err := s.Object(ObjectQuestion{From: d.Domain, Action: d.Action, Object: d.Object})
	for i := range all {
		all[i].Record = r
	}
	return all, err
}
