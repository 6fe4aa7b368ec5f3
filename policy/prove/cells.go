package prove

import (
	"slices"

	"ward/image"
)

// A CellValue is what an example has in a cell of state: an index of its
// state's values.
type CellValue struct{ Cell, Value uint32 }

// cell makes the term of a cell of state: a number that is always there.
func (s *space) cell(index uint32) *term {
	t := &term{what: image.CellValue, cell: index, at: len(s.numbers)}
	values, said := s.holds[index]
	if !said {
		values = Reachable(&s.img.States[s.img.Cells[index].State])
	}
	set := make([]int64, len(values))
	for i, v := range values {
		set[i] = int64(v)
	}
	slices.Sort(set)
	s.numbers = append(s.numbers, points(set))
	s.cells = append(s.cells, t)
	return t
}

// Reachable lists the values that the declared moves of a state lead to from
// its initial value, that one included; sorted.
func Reachable(s *image.State) []uint32 {
	next := map[uint32][]uint32{}
	for _, m := range s.Moves {
		next[m.From] = append(next[m.From], m.To)
	}
	var values []uint32
	seen := make([]bool, len(s.Values))
	for todo := []uint32{s.Initial}; len(todo) > 0; {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen[v] {
			seen[v] = true
			values = append(values, v)
			todo = append(todo, next[v]...)
		}
	}
	slices.Sort(values)
	return values
}

func (s *space) cellNumbers() []int {
	var at []int
	for _, t := range s.cells {
		at = append(at, t.at)
	}
	return at
}

// likely is the value of a cell that an example shows of those that are
// possible: the initial one if it is among them, and nothing orders cells.
func (a *asker) likely(t *term, st *state) int64 {
	r := st.numbers[t.at]
	first := int64(a.img.States[a.img.Cells[t.cell].State].Initial)
	if r.has(first) && !slices.ContainsFunc(st.edges, func(e edge) bool { return e.low == t.at || e.high == t.at }) {
		return first
	}
	return r.low()
}

// Cell makes an Example the state that its message met.
func (e *Example) Cell(cell uint32) uint32 {
	for _, c := range e.Cells {
		if c.Cell == cell {
			return c.Value
		}
	}
	return 0 // no condition looks at it
}
