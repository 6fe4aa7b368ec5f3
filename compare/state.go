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

// looksAtState reports whether a condition reads state.
func looksAtState(e *image.Expr) bool {
	return e.Left.What == image.CellValue || e.Right.What == image.CellValue || slices.ContainsFunc(e.Args, func(a image.Expr) bool { return looksAtState(&a) })
}
