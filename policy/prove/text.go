package prove

import (
	"slices"
	"strings"
	"unicode/utf8"

	"ward/image"
	"ward/policy/eval"
)

// text is what is known of a string parameter. It is never changed in place.
type text struct {
	field          *image.Field // its bounds
	finite         bool         // only what is listed in fixed is left
	fixed          []string
	prefix, suffix string
	not            map[string]bool
	notPrefix      []string
	notSuffix      []string
	gaps           []gap
}

func newText(f *image.Field) *text {
	t := &text{field: f, prefix: f.Prefix, suffix: f.Suffix}
	if len(f.In) > 0 {
		return t.only(f.In)
	}
	return t
}

// only keeps those of the values that are possible.
func (t *text) only(values []string) *text {
	u := *t
	u.finite, u.fixed = true, nil
	for _, v := range values {
		if t.admits(v) {
			u.fixed = append(u.fixed, v)
		}
	}
	return &u
}

// Within reports whether a string or bytes value is within the bounds of its field.
func Within(f *image.Field, v string) bool {
	if f.Type == image.String && !utf8.ValidString(v) {
		return false
	}
	runes := uint32(utf8.RuneCountInString(v))
	return len(v) >= int(f.MinLen) && len(v) <= int(f.MaxLen) && runes >= f.MinRunes && (f.MaxRunes == 0 || runes <= f.MaxRunes) &&
		strings.HasPrefix(v, f.Prefix) && strings.HasSuffix(v, f.Suffix) && (len(f.In) == 0 || slices.Contains(f.In, v)) &&
		!(f.Required && f.Card == image.Implicit && v == "") && inClass(f, v)
}

// inClass reports whether v consists of the characters of its field's class.
func inClass(f *image.Field, v string) bool {
	if f.Class == [2]uint64{} {
		return true
	}
	return !strings.ContainsFunc(v, func(r rune) bool { return r > 127 || f.Class[r/64]>>(r%64)&1 == 0 })
}

// admits reports whether the parameter may have this value.
func (t *text) admits(v string) bool {
	if t.finite && !slices.Contains(t.fixed, v) {
		return false
	}
	return t.fitsGaps(v) && Within(t.field, v) && strings.HasPrefix(v, t.prefix) && strings.HasSuffix(v, t.suffix) && !t.not[v] &&
		!slices.ContainsFunc(t.notPrefix, func(p string) bool { return strings.HasPrefix(v, p) }) &&
		!slices.ContainsFunc(t.notSuffix, func(s string) bool { return strings.HasSuffix(v, s) })
}

// eval says whether a condition on the parameter holds.
func (t *text) eval(e *image.Expr) truth {
	if t.finite {
		count := 0
		for _, v := range t.fixed {
			if holdsText(e, v) {
				count++
			}
		}
		return truthOf(count == len(t.fixed), count == 0)
	}
	if e.Op == image.Like {
		return t.evalGaps(e)
	}
	c := e.Right.Value.String
	never := false
	switch e.Op {
	case image.Eq:
		never = !t.admits(c)
	case image.In:
		never = !slices.ContainsFunc(e.Set, func(v image.Value) bool { return t.admits(v.String) })
	case image.Prefix:
		if strings.HasPrefix(t.prefix, c) {
			return yes
		}
		never = !strings.HasPrefix(c, t.prefix) || !inClass(t.field, c) || len(c) > int(t.field.MaxLen) ||
			slices.ContainsFunc(t.notPrefix, func(p string) bool { return strings.HasPrefix(c, p) })
	case image.Suffix:
		if strings.HasSuffix(t.suffix, c) {
			return yes
		}
		never = !strings.HasSuffix(c, t.suffix) || !inClass(t.field, c) || len(c) > int(t.field.MaxLen) ||
			slices.ContainsFunc(t.notSuffix, func(s string) bool { return strings.HasSuffix(c, s) })
	}
	return truthOf(false, never)
}

func holdsText(e *image.Expr, v string) bool {
	c := e.Right.Value.String
	switch e.Op {
	case image.Eq:
		return v == c
	case image.In:
		_, found := slices.BinarySearchFunc(e.Set, v, func(s image.Value, v string) int { return strings.Compare(s.String, v) })
		return found
	case image.Prefix:
		return strings.HasPrefix(v, c)
	case image.Like:
		return eval.Matches(v, e.Set)
	}
	return strings.HasSuffix(v, c)
}

// assume adds that a condition holds, or not. It is called where eval is unsure.
func (t *text) assume(e *image.Expr, holds bool) *text {
	if t.finite {
		u := *t
		u.fixed = nil
		for _, v := range t.fixed {
			if holdsText(e, v) == holds {
				u.fixed = append(u.fixed, v)
			}
		}
		return &u
	}
	c := e.Right.Value.String
	var values []string
	switch e.Op {
	case image.Eq:
		values = []string{c}
	case image.In:
		for _, v := range e.Set {
			values = append(values, v.String)
		}
	}
	u := *t
	switch {
	case e.Op == image.Like:
		u.gaps = append(slices.Clip(t.gaps), gap{e, holds})
	case values != nil && holds:
		return t.only(values)
	case values != nil:
		u.not = make(map[string]bool, len(t.not)+len(values))
		for v := range t.not {
			u.not[v] = true
		}
		for _, v := range values {
			u.not[v] = true
		}
	case e.Op == image.Prefix && holds:
		u.prefix = c // eval saw that it extends the one before
	case e.Op == image.Prefix:
		u.notPrefix = append(slices.Clip(t.notPrefix), c)
	case holds:
		u.suffix = c
	default:
		u.notSuffix = append(slices.Clip(t.notSuffix), c)
	}
	return &u
}

// empty reports whether it is certain that no value is left.
func (t *text) empty() bool {
	if t.finite {
		return len(t.fixed) == 0
	}
	return !inClass(t.field, t.prefix) || !inClass(t.field, t.suffix) || shortest(t.prefix, t.suffix) > int(t.field.MaxLen) ||
		slices.ContainsFunc(t.notPrefix, func(p string) bool { return strings.HasPrefix(t.prefix, p) }) ||
		slices.ContainsFunc(t.notSuffix, func(s string) bool { return strings.HasSuffix(t.suffix, s) })
}

// shortest is the length of the shortest text with a prefix and a suffix.
func shortest(prefix, suffix string) int {
	for n := min(len(prefix), len(suffix)); n > 0; n-- {
		if strings.HasSuffix(prefix, suffix[:n]) {
			return len(prefix) + len(suffix) - n
		}
	}
	return len(prefix) + len(suffix)
}

// letters are those of which an example is made first.
const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_./ABCDEFGHIJKLMNOPQRSTUVWXYZ~ é"

// example finds a possible value. If it finds none, all says whether every
// value was tried, so that there is none.
func (t *text) example() (v string, found, all bool) {
	if t.finite {
		if len(t.fixed) == 0 {
			return "", false, true
		}
		return t.fixed[0], true, false
	}
	for n := min(len(t.prefix), len(t.suffix)); n >= 0; n-- {
		if v := t.prefix + t.suffix[n:]; strings.HasSuffix(t.prefix, t.suffix[:n]) && t.admits(v) {
			return v, true, false
		}
	}
	for _, v := range t.guesses() {
		if t.admits(v) {
			return v, true, false
		}
	}
	return t.words()
}
