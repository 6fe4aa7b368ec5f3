package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"ward/image"
)

// A cell is one case of a variable: all its values in the case are alike to
// every condition of both decisions. Most cells have a value that stands for
// all; a text cell may have none, if none could be made up.
type cell struct {
	absent bool
	long   int64
	text   string
	// A text without a value: what it begins and ends with, of all that
	// conditions ask for; it equals none of their constants.
	abstract       bool
	prefix, suffix string
}

// satisfies evaluates a condition over one variable.
func (c *cell) satisfies(e *image.Expr, x *side) bool {
	switch e.Op {
	case image.Has:
		return !c.absent
	case image.User:
		return c.text == x.Users[e.Atom]
	case image.Group:
		return c.long != 0
	case image.In:
		if e.Set[0].IsString {
			_, ok := slices.BinarySearchFunc(e.Set, c.text, func(v image.Value, s string) int { return strings.Compare(v.String, s) })
			return ok && !c.abstract
		}
		_, ok := slices.BinarySearchFunc(e.Set, c.long, func(v image.Value, n int64) int {
			switch {
			case v.Long < n:
				return -1
			case v.Long > n:
				return 1
			}
			return 0
		})
		return ok
	case image.Eq:
		if e.Right.Value.IsString {
			return !c.abstract && c.text == e.Right.Value.String
		}
	case image.Prefix:
		if c.abstract {
			return strings.HasPrefix(c.prefix, e.Right.Value.String)
		}
		return strings.HasPrefix(c.text, e.Right.Value.String)
	case image.Suffix:
		if c.abstract {
			return strings.HasSuffix(c.suffix, e.Right.Value.String)
		}
		return strings.HasSuffix(c.text, e.Right.Value.String)
	}
	a, b := c.of(e.Left), c.of(e.Right)
	return e.Op == image.Eq && a == b || e.Op == image.Less && a < b || e.Op == image.LessEq && a <= b
}

func (c *cell) of(o image.Operand) int64 {
	if o.What == image.Constant {
		return o.Value.Long
	}
	return c.long
}

// A span is the numbers that a property of a field may have.
type span struct {
	low, high int64
	values    []int64 // if not nil: these only, sorted
}

// spanOf is what the bounds of a field allow its number, size or count to be.
func spanOf(f *image.Field) span {
	s := span{math.MinInt64, math.MaxInt64, nil}
	switch {
	case f.Card == image.Repeated:
		return span{int64(f.MinItems), int64(f.MaxItems), nil}
	case f.Type == image.Bytes:
		s = span{int64(max(f.MinLen, uint32(len(f.Prefix)), uint32(len(f.Suffix)))), int64(f.MaxLen), nil}
		for _, v := range f.In {
			s.values = append(s.values, int64(len(v)))
		}
		slices.Sort(s.values)
		return s
	}
	switch f.Type {
	case image.Int32, image.Sint32, image.Sfixed32, image.Enum:
		s.low, s.high = math.MinInt32, math.MaxInt32
	case image.Uint32, image.Fixed32:
		s.low, s.high = 0, math.MaxUint32
	case image.Uint64, image.Fixed64:
		s.low = 0
	case image.Bool:
		s.low, s.high = 0, 1
	}
	if f.HasRange {
		s.low, s.high = int64(f.Min), int64(f.Max)
	}
	if len(f.Values) > 0 {
		s.values = f.Values
	}
	return s
}

func (s span) has(n int64) bool {
	if n < s.low || n > s.high {
		return false
	}
	if s.values == nil {
		return true
	}
	_, ok := slices.BinarySearch(s.values, n)
	return ok
}

// numbers are the cells of a number that is compared with constants, and with
// k-1 other numbers. Between two neighbouring breaks every value is like every
// other to the constants; k of them are enough for any order among k numbers.
func numbers(spans []span, breaks []int64, k int) []cell {
	points := append([]int64(nil), breaks...)
	for _, s := range spans {
		points = append(points, s.low, s.high, 0)
		points = append(points, s.values...)
	}
	var all []int64
	for _, b := range points {
		for j := -int64(k); j <= int64(k); j++ {
			if n := b + j; (j < 0) == (n < b) && (j > 0) == (n > b) { // no overflow
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	var cells []cell
	for _, n := range slices.Compact(all) {
		if !slices.ContainsFunc(spans, func(s span) bool { return !s.has(n) }) {
			cells = append(cells, cell{long: n})
		}
	}
	return cells
}

// textWithin reports whether a string is within the bounds of a field.
func textWithin(f *image.Field, s string) bool {
	runes := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s), len(s) < int(f.MinLen), len(s) > int(f.MaxLen), runes < int(f.MinRunes), f.MaxRunes != 0 && runes > int(f.MaxRunes),
		len(f.In) > 0 && !slices.Contains(f.In, s), !strings.HasPrefix(s, f.Prefix), !strings.HasSuffix(s, f.Suffix):
		return false
	}
	return classHas(f, s)
}

func classHas(f *image.Field, s string) bool {
	return f.Class == [2]uint64{} || !strings.ContainsFunc(s, func(r rune) bool { return r >= 128 || f.Class[r/64]>>(r%64)&1 == 0 })
}

// maxTexts bounds the cells of a text before they are merged.
const maxTexts = 20000

// texts are the cells of a string: each constant that is within the bounds of
// all fields, and for the rest each way to begin and to end that conditions
// tell apart. It reports false if there are too many.
func texts(fields []*image.Field, equal, prefixes, suffixes []string) ([]cell, bool) {
	within := func(s string) bool {
		return !slices.ContainsFunc(fields, func(f *image.Field) bool { return !textWithin(f, s) })
	}
	for _, f := range fields {
		equal = append(equal, f.In...)
	}
	slices.Sort(equal)
	equal = slices.Compact(equal)
	var cells []cell
	finite := slices.ContainsFunc(fields, func(f *image.Field) bool { return len(f.In) > 0 })
	if finite || (len(prefixes)+1)*(len(suffixes)+1) <= maxTexts {
		for _, s := range equal {
			if within(s) {
				cells = append(cells, cell{text: s})
			}
		}
	} else {
		return nil, false
	}
	if finite {
		return cells, true
	}
	for _, p := range append([]string{""}, prefixes...) {
		for _, q := range append([]string{""}, suffixes...) {
			c := cell{prefix: p, suffix: q, abstract: true}
			if slices.ContainsFunc(fields, func(f *image.Field) bool {
				return impossible(f, p, q) || len(longest(f.Prefix, prefixes, strings.HasPrefix)) > len(p) || len(longest(f.Suffix, suffixes, strings.HasSuffix)) > len(q)
			}) {
				continue
			}
			for _, s := range candidates(fields, p, q) {
				if within(s) && longest(s, prefixes, strings.HasPrefix) == p && longest(s, suffixes, strings.HasSuffix) == q {
					if _, constant := slices.BinarySearch(equal, s); !constant {
						c = cell{text: s}
						break
					}
				}
			}
			cells = append(cells, c)
		}
	}
	return cells, true
}

// impossible reports whether no string within bounds begins with p and ends
// with q. False does not mean that there is one.
func impossible(f *image.Field, p, q string) bool {
	clash := func(a, b string, has func(string, string) bool) bool { return !has(a, b) && !has(b, a) }
	return len(p) > int(f.MaxLen) || len(q) > int(f.MaxLen) || !classHas(f, p) || !classHas(f, q) ||
		clash(p, f.Prefix, strings.HasPrefix) || clash(q, f.Suffix, strings.HasSuffix)
}

func longest(s string, of []string, has func(string, string) bool) string {
	best := ""
	for _, p := range of {
		if has(s, p) && len(p) > len(best) {
			best = p
		}
	}
	return best
}

// candidates makes up strings that begin with p and end with q: overlapping,
// then with something between.
func candidates(fields []*image.Field, p, q string) []string {
	least, fill := 0, []string{"x", "a", "0", "-", "_", "/", ".", "Z", "é"}
	for _, f := range fields {
		if len(f.Prefix) > len(p) {
			p = f.Prefix
		}
		if len(f.Suffix) > len(q) {
			q = f.Suffix
		}
		least = max(least, int(f.MinLen), int(f.MinRunes))
		for c := rune(33); c < 127 && f.Class != [2]uint64{}; c++ {
			if classHas(f, string(c)) {
				fill = append(fill, string(c))
				if len(fill) > 16 {
					break
				}
			}
		}
	}
	all := []string{p + q}
	for k := min(len(p), len(q)); k > 0; k-- {
		if strings.HasSuffix(p, q[:k]) {
			all = append(all, p+q[k:])
		}
	}
	for _, c := range fill {
		for _, n := range []int{1, 2, 3, least - len(p) - len(q), least} {
			if n > 0 && n <= 1<<17 {
				all = append(all, p+strings.Repeat(c, n)+q)
			}
		}
	}
	return all
}

// merge keeps one cell of those that are alike to all conditions, one with a
// value if there is one.
func merge(cells []cell, sides []*side, atoms [][]*image.Expr) []cell {
	at := map[string]int{}
	var kept []cell
	for i := range cells {
		c := &cells[i]
		var key strings.Builder
		fmt.Fprint(&key, c.absent)
		for n, x := range sides {
			for _, e := range atoms[n] {
				if c.satisfies(e, x) {
					key.WriteByte('1')
				} else {
					key.WriteByte('0')
				}
			}
		}
		j, ok := at[key.String()]
		switch {
		case !ok:
			at[key.String()] = len(kept)
			kept = append(kept, *c)
		case kept[j].abstract && !c.abstract:
			kept[j] = *c
		}
	}
	return kept
}
