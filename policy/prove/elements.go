package prove

import (
	"cmp"
	"slices"
	"strings"

	"ward/image"
)

// A question is a test of the elements of a repeated parameter.
type question struct {
	e     *image.Expr // AnyIn or AnyOut
	count *term
}

// question notes a test of elements, with the number of elements.
func (s *space) question(e *image.Expr) {
	o := image.Operand{What: image.Count, Path: e.Left.Path}
	s.term(&o)
	if s.questionOf(e) < 0 {
		s.questions = append(s.questions, question{e, s.terms[termKey(&o)]})
	}
}

func sameTest(a, b *image.Expr) bool {
	return a.Op == b.Op && slices.Equal(a.Left.Path, b.Left.Path) && slices.Equal(a.Set, b.Set)
}

func (s *space) questionOf(e *image.Expr) int {
	return slices.IndexFunc(s.questions, func(q question) bool { return sameTest(q.e, e) })
}

// evalElements is the value of a test of elements.
func (a *asker) evalElements(st *state, e *image.Expr) (truth, *mark) {
	i := a.questionOf(e)
	count := a.questions[i].count
	if ok, p := count.known(st); !ok {
		return unsure, &mark{presence: p}
	}
	if n := st.numbers[count.at]; n.single() && n.low() == 0 {
		return no, nil
	}
	return st.answers[i], &mark{presence: -1, atom: e}
}

// elementParts splits a state by a test of elements.
func (a *asker) elementParts(st *state, e *image.Expr) []*state {
	i := a.questionOf(e)
	at := a.questions[i].count.at
	var parts []*state
	for _, t := range []truth{yes, no} {
		c := st.clone()
		c.answers = slices.Clone(st.answers)
		c.answers[i] = t
		if t == yes {
			c.numbers[at] = st.numbers[at].between(1, maxInt)
		}
		parts = append(parts, c)
	}
	return parts
}

// holdsElement evaluates a test for one element.
func holdsElement(e *image.Expr, v image.Value) bool {
	return slices.Contains(e.Set, v) == (e.Op == image.AnyIn)
}

// elements makes up the elements of a repeated parameter. If there are none,
// all says that none are possible.
func (a *asker) elements(st *state, count *term) (list []image.Value, found, all bool) {
	var allowed []image.Value
	var asked []int
	for i, q := range a.questions {
		if q.count == count {
			asked = append(asked, i)
			allowed = append(allowed, q.e.Set...)
		}
	}
	if len(asked) == 0 {
		return nil, true, false
	}
	slices.SortFunc(allowed, func(a, b image.Value) int {
		return cmp.Or(cmp.Compare(a.Long, b.Long), cmp.Compare(a.String, b.String))
	})
	allowed = slices.Compact(allowed)
	other, known := another(count.field, allowed)
	allowed = slices.DeleteFunc(append(allowed, other...), func(v image.Value) bool {
		return !element(count.field, v) || slices.ContainsFunc(asked, func(i int) bool { return st.answers[i] == no && holdsElement(a.questions[i].e, v) })
	})
	for _, i := range asked {
		e := a.questions[i].e
		if st.answers[i] != yes || slices.ContainsFunc(list, func(v image.Value) bool { return holdsElement(e, v) }) {
			continue
		}
		at := slices.IndexFunc(allowed, func(v image.Value) bool { return holdsElement(e, v) })
		if at < 0 {
			return nil, false, known
		}
		list = append(list, allowed[at])
	}
	n := st.numbers[count.at].between(int64(len(list)), maxInt)
	if len(n) == 0 {
		return nil, false, len(list) == 1
	}
	for int64(len(list)) < n.low() {
		if len(allowed) == 0 {
			return nil, false, known
		}
		list = append(list, allowed[0])
	}
	return list, true, false
}

// element reports whether an element of a field may have a value.
func element(f *image.Field, v image.Value) bool {
	if f.Type == image.String {
		return Within(f, v.String)
	}
	return len(bounds(f, image.Scalar).both(point(v.Long))) > 0
}

// another makes up an element that is none of the constants. known says that
// if there is none, none is possible.
func another(f *image.Field, constants []image.Value) (other []image.Value, known bool) {
	if f.Type == image.String {
		t := newText(f)
		for _, c := range constants {
			t = t.assume(&image.Expr{Op: image.Eq, Right: image.Operand{Value: c}}, false)
		}
		v, found, all := t.example()
		if !found {
			return nil, all
		}
		return []image.Value{{IsString: true, String: v}}, true
	}
	var numbers []int64
	for _, c := range constants {
		numbers = append(numbers, c.Long)
	}
	left := bounds(f, image.Scalar).without(points(numbers))
	if len(left) == 0 {
		return nil, true
	}
	return []image.Value{{Long: left.low()}}, true
}

// Elements makes an Example know the elements that it was given.
func (e *Example) Elements(path []uint32) []image.Value { return e.at(path, image.Count).Elements }

// A gap is a pattern that a text is known to match, or not to.
type gap struct {
	e     *image.Expr
	holds bool
}

// fitsGaps reports whether v is what is known of patterns.
func (t *text) fitsGaps(v string) bool {
	return !slices.ContainsFunc(t.gaps, func(g gap) bool { return holdsText(g.e, v) != g.holds })
}

// evalGaps says whether a pattern is known to match.
func (t *text) evalGaps(e *image.Expr) truth {
	for _, g := range t.gaps {
		if slices.Equal(g.e.Set, e.Set) {
			return truthOf(g.holds, !g.holds)
		}
	}
	return unsure
}

// guesses are texts that match the patterns that have to match.
func (t *text) guesses() []string {
	var res []string
	middle := ""
	for _, g := range t.gaps {
		if !g.holds {
			continue
		}
		var parts []string
		for _, v := range g.e.Set {
			parts = append(parts, v.String)
		}
		s := strings.Join(parts, "")
		middle += s
		inner := strings.Join(parts[1:max(1, len(parts)-1)], "")
		res = append(res, s, t.prefix+s+t.suffix, t.prefix+inner+t.suffix, parts[0]+t.prefix+inner+t.suffix+parts[len(parts)-1])
	}
	return append(res, middle, t.prefix+middle+t.suffix)
}
