package compare

import (
	"fmt"
	"slices"
	"strings"

	"ward/image"
)

// cellText writes what a cell of state is and may become: two cells with equal
// texts hold the same values in the same way.
func (s side) cellText(cell uint32) string {
	c := &s.Cells[cell]
	st := &s.States[c.State]
	owner := ""
	if st.Per == image.PerDomain {
		owner = s.Domains[c.Domain].Name
	}
	return fmt.Sprintf("%d %q %q %q %d %v", st.Per, owner, st.Name, st.Values, st.Initial, st.Moves)
}

// effects writes what a decision's permits do beside admitting.
func (s side) effects() string {
	var all []string
	for i := range s.decision.Permit {
		r := &s.decision.Permit[i]
		if len(r.Enter) == 0 && r.Rate == (image.Rate{}) || r.When.Op == image.False {
			continue
		}
		var parts []string
		for _, e := range r.Enter {
			parts = append(parts, fmt.Sprintf("%s=%d", s.cellText(e.Cell), e.Value))
		}
		slices.Sort(parts)
		all = append(all, fmt.Sprintf("%s: %s, %d %d", s.text(&r.When), strings.Join(parts, ";"), r.Rate.Every, r.Rate.Burst))
	}
	slices.Sort(all)
	return strings.Join(all, "|")
}

// states compares the declarations of states. What may be reached now that could
// not be before is new access: conditions may hold that never did.
func (c *comparer) states() {
	declared := func(x *index) map[string]*image.State {
		all := map[string]*image.State{}
		for i := range x.States {
			all[x.States[i].Name] = &x.States[i]
		}
		return all
	}
	before, after := declared(c.old), declared(c.new)
	for _, name := range union(before, after) {
		o, n := before[name], after[name]
		if o == nil || n == nil {
			continue // conditions on it are compared, and say more
		}
		x := Change{Event: "state", Change: Changed, Object: name}
		tell := func(wider bool, format string, args ...any) {
			x := x
			x.NewAccess, x.Detail = wider, fmt.Sprintf(format, args...)
			c.add(x)
		}
		if o.Per != n.Per {
			tell(true, "it is another kind of state: whose it is has changed")
			continue
		}
		if was, is := o.Values[o.Initial], n.Values[n.Initial]; was != is {
			tell(true, "initial value: was %s, now %s", was, is)
		}
		moves := func(s *image.State) map[string]bool {
			all := map[string]bool{}
			for _, m := range s.Moves {
				all[s.Values[m.From]+" → "+s.Values[m.To]] = true
			}
			return all
		}
		was, is := moves(o), moves(n)
		for _, m := range union(was, is) {
			switch {
			case !was[m]:
				tell(true, "new move %s", m)
			case !is[m]:
				tell(false, "no move %s any more", m)
			}
		}
	}
}

// looksAtState reports whether a condition reads state.
func looksAtState(e *image.Expr) bool {
	return e.Left.What == image.CellValue || e.Right.What == image.CellValue || slices.ContainsFunc(e.Args, func(a image.Expr) bool { return looksAtState(&a) })
}
