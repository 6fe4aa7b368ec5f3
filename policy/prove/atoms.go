package prove

import (
	"math"

	"ward/image"
)

// eval is the value of a condition in a state, or what has to be known for it.
func (a *asker) eval(st *state, e *image.Expr) (truth, *mark) {
	switch e.Op {
	case image.True:
		return yes, nil
	case image.False:
		return no, nil
	case image.And:
		return a.junction(st, e, no)
	case image.Or:
		return a.junction(st, e, yes)
	case image.Not:
		t, m := a.eval(st, &e.Args[0])
		return t.not(), m
	case image.If:
		t, m := a.eval(st, &e.Args[0])
		switch t {
		case yes:
			return a.eval(st, &e.Args[1])
		case no:
			return a.eval(st, &e.Args[2])
		}
		return unsure, m
	case image.Has:
		i := a.byPath[pathKey(e.Path)]
		if _, present := a.walk(e.Path); len(present) > 0 {
			i = present[len(present)-1]
		}
		return st.present[i], &mark{presence: i}
	case image.User:
		return st.users[e.Atom], &mark{presence: -1, atom: e}
	case image.Group:
		return st.groups[e.Atom], &mark{presence: -1, atom: e}
	case image.AnyIn, image.AnyOut:
		return a.evalElements(st, e)
	}
	for _, o := range []*image.Operand{&e.Left, &e.Right} {
		if o.What == image.Constant {
			continue
		}
		if ok, p := a.terms[termKey(o)].known(st); !ok {
			return unsure, &mark{presence: p}
		}
	}
	if t := a.terms[termKey(&e.Left)]; t != nil && t.text {
		return st.texts[t.at].eval(e), &mark{presence: -1, atom: e}
	}
	return a.compare(st, e), &mark{presence: -1, atom: e}
}

// junction evaluates And, which one `no` decides, or Or, which one `yes` does.
func (a *asker) junction(st *state, e *image.Expr, decisive truth) (truth, *mark) {
	var next *mark
	for i := range e.Args {
		switch t, m := a.eval(st, &e.Args[i]); {
		case t == decisive:
			return t, nil
		case t == unsure && next == nil:
			next = m
		}
	}
	if next != nil {
		return unsure, next
	}
	return decisive.not(), nil
}

// number is what is known of an operand; at is its place in state.numbers, or
// -1 for a constant.
func (a *asker) number(st *state, o *image.Operand) (r ranges, at int) {
	if o.What == image.Constant {
		return point(o.Value.Long), -1
	}
	t := a.terms[termKey(o)]
	return st.numbers[t.at], t.at
}

func setOf(e *image.Expr) ranges {
	set := make([]int64, len(e.Set))
	for i, v := range e.Set {
		set[i] = v.Long
	}
	return points(set)
}

// compare evaluates a condition on numbers.
func (a *asker) compare(st *state, e *image.Expr) truth {
	l, i := a.number(st, &e.Left)
	if e.Op == image.In {
		set := setOf(e)
		return truthOf(len(l.without(set)) == 0, len(l.both(set)) == 0)
	}
	r, j := a.number(st, &e.Right)
	var leads, strict, back, backStrict bool
	if i >= 0 && j >= 0 {
		leads, strict = st.below(i, j)
		back, backStrict = st.below(j, i)
	}
	switch e.Op {
	case image.Eq:
		return truthOf(leads && back || l.single() && r.single() && l.low() == r.low(), strict || backStrict || len(l.both(r)) == 0)
	case image.Less:
		return truthOf(strict || l.high() < r.low(), back || l.low() >= r.high())
	}
	return truthOf(leads || l.high() <= r.low(), backStrict || l.low() > r.high())
}

// parts splits a state by a comparison of which it is unsure: the parts hold
// all of its messages, and each decides the comparison.
func (a *asker) parts(st *state, e *image.Expr) []*state {
	if e.Op == image.AnyIn || e.Op == image.AnyOut {
		return a.elementParts(st, e)
	}
	if t := a.terms[termKey(&e.Left)]; t != nil && t.text {
		holds, fails := st.clone(), st.clone()
		holds.texts[t.at] = st.texts[t.at].assume(e, true)
		fails.texts[t.at] = st.texts[t.at].assume(e, false)
		return []*state{holds, fails}
	}
	l, i := a.number(st, &e.Left)
	keep := func(at int, r ranges) *state {
		c := st.clone()
		c.numbers[at] = r
		return c
	}
	if e.Op == image.In {
		set := setOf(e)
		return []*state{keep(i, l.both(set)), keep(i, l.without(set))}
	}
	r, j := a.number(st, &e.Right)
	if i >= 0 && j >= 0 {
		return st.order(e.Op, i, j)
	}
	at, known, v, op := i, l, r, e.Op
	if i < 0 { // constant < x is x > constant
		at, known, v = j, r, l
	}
	c := v.low()
	switch {
	case op == image.Eq:
		return []*state{keep(at, known.both(point(c))), keep(at, known.without(point(c)))}
	case (op == image.Less) == (at == i): // x < c, or c <= x: the cut is below c
		if c == math.MinInt64 {
			return []*state{st.clone()}
		}
		c--
	}
	parts := []*state{keep(at, known.between(math.MinInt64, c))}
	if c < math.MaxInt64 {
		parts = append(parts, keep(at, known.between(c+1, math.MaxInt64)))
	}
	return parts
}

// order splits a state by the order of two numbers.
func (st *state) order(op image.Op, i, j int) []*state {
	add := func(edges ...edge) *state {
		c := st.clone()
		c.edges = append(c.edges, edges...)
		return c
	}
	less, more := edge{i, j, true}, edge{j, i, true}
	atMost, atLeast := edge{i, j, false}, edge{j, i, false}
	switch op {
	case image.Less:
		return []*state{add(less), add(atLeast)}
	case image.LessEq:
		return []*state{add(atMost), add(more)}
	}
	return []*state{add(atMost, atLeast), add(less), add(more)}
}
