package compare

import (
	"slices"

	"ward/image"
)

// maxCells bounds the work of merging the cells of one variable: cells times
// conditions.
const maxCells = 20_000_000

// A cellBuilder finds the cells of all variables from the conditions of both
// decisions.
type cellBuilder struct {
	*searcher
	sides []*side
}

func (b *cellBuilder) cells() (reason string) {
	perVar := make([][2][]*image.Expr, len(b.vars)) // conditions over one variable, by side
	linked := make([]int, len(b.vars))              // the first of the variables that it is compared with
	for i := range linked {
		linked[i] = i
	}
	for n, x := range b.sides {
		for _, e := range atoms(x.decision) {
			switch e.Op {
			case image.Like, image.AnyIn, image.AnyOut:
				return "a condition looks at the elements of a repeated parameter, or has a pattern with several parts, which cannot be compared"
			}
			if looksAtState(e) {
				return "a condition looks at state, which cannot be compared"
			}
			key := x.key(e)
			if key == "" {
				continue
			}
			i := b.byKey[key]
			if j := b.other(e); j >= 0 && j != i {
				from, to := linked[max(i, j)], linked[min(i, j)]
				for k := range linked {
					if linked[k] == from {
						linked[k] = to
					}
				}
			}
			perVar[i][n] = append(perVar[i][n], e)
		}
	}
	for i, v := range b.vars {
		group := 0
		var breaks []int64
		for k := range linked {
			if linked[k] == linked[i] {
				group++
				breaks = append(breaks, constants(perVar[k])...)
				if k != i {
					breaks = append(breaks, ends(b.vars[k])...)
				}
			}
		}
		if !b.variable(v, perVar[i], breaks, group) {
			return "the conditions on one parameter are too many to compare"
		}
	}
	return ""
}

// other is the variable on the right of a comparison of two; -1: none.
func (b *cellBuilder) other(e *image.Expr) int {
	if len(e.Left.Path) == 0 || len(e.Right.Path) == 0 {
		return -1
	}
	return b.byKey[pathKey(e.Right.Path)]
}

// constants are the numbers that conditions compare with.
func constants(es [2][]*image.Expr) (all []int64) {
	for _, e := range slices.Concat(es[0], es[1]) {
		for _, o := range []image.Operand{e.Left, e.Right} {
			if o.What == image.Constant && !o.Value.IsString {
				all = append(all, o.Value.Long)
			}
		}
		for _, v := range e.Set {
			all = append(all, v.Long)
		}
	}
	return all
}

// ends are the limits of a number.
func ends(v *variable) (all []int64) {
	for _, f := range v.fields {
		s := spanOf(f)
		all = append(append(all, s.low, s.high), s.values...)
	}
	return all
}

// variable fills in the cells of one variable. It reports false if they are
// too many.
func (b *cellBuilder) variable(v *variable, es [2][]*image.Expr, breaks []int64, group int) bool {
	work := 1 + len(es[0]) + len(es[1])
	switch {
	case v.key == "user":
		v.cells = append(v.cells, cell{})
		for _, x := range b.sides {
			for _, name := range x.Users {
				v.cells = append(v.cells, cell{text: name})
			}
		}
	case len(v.fields) == 0:
		v.cells = []cell{{}, {long: 1}}
		return true
	case v.fields[0].Type == image.Nested && v.fields[0].Card != image.Repeated:
		v.cells = []cell{{}}
	case v.fields[0].Type == image.String && v.fields[0].Card != image.Repeated:
		equal, prefixes, suffixes := words(es)
		if (len(prefixes)+1)*(len(suffixes)+1)*work > maxCells {
			return false
		}
		cells, ok := texts(v.fields, equal, prefixes, suffixes)
		if !ok {
			return false
		}
		v.cells = cells
	default:
		var spans []span
		for _, f := range v.fields {
			spans = append(spans, spanOf(f))
		}
		v.cells = numbers(spans, breaks, group)
	}
	if len(v.fields) > 0 && v.fields[0].Card == image.Optional && !slices.ContainsFunc(v.fields, func(f *image.Field) bool { return f.Required }) {
		v.cells = append(v.cells, *absent)
	}
	if len(v.cells)*work > maxCells {
		return false
	}
	if group == 1 {
		v.cells = merge(v.cells, b.sides, es[:])
	}
	return true
}

// words are the texts that conditions ask for.
func words(es [2][]*image.Expr) (equal, prefixes, suffixes []string) {
	for _, e := range slices.Concat(es[0], es[1]) {
		switch e.Op {
		case image.Eq:
			equal = append(equal, e.Right.Value.String)
		case image.Prefix:
			prefixes = append(prefixes, e.Right.Value.String)
		case image.Suffix:
			suffixes = append(suffixes, e.Right.Value.String)
		}
		for _, v := range e.Set {
			equal = append(equal, v.String)
		}
	}
	slices.Sort(prefixes)
	slices.Sort(suffixes)
	return equal, slices.Compact(prefixes), slices.Compact(suffixes)
}
