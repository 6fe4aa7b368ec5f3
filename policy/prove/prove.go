package prove

import (
	"slices"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// Answer says how a question about all messages ended.
type Answer uint8

const (
	Never   Answer = iota // proven: there is no such message
	Found                 // there is one: the Example
	Unknown               // neither, within the bounds of the search
)

// maxParts bounds the parts that one question is split into.
const maxParts = 100_000

// A Question is about the messages of one type, from one client, that satisfy
// conditions.
type Question struct {
	Image   *image.Image
	Message *image.Message // nil: about the client only
	Given   []image.Expr
	// Decisions are made in order; the first that denies decides, else the last.
	// None: Verdict is default deny.
	Decisions []*image.Decision
	// Users and Groups say which atoms hold of the client. An atom that is not
	// a key may or may not hold.
	Users, Groups map[uint32]bool
	// Cells says which values cells of state may have. One that is not a key may
	// have each that its declared moves lead to from its initial value.
	Cells map[uint32][]uint32
	// Want picks the verdicts that are looked for.
	Want func(image.Verdict) bool
	// Saw, if not nil, is told of each verdict that some part of the messages
	// may get.
	Saw func(image.Verdict)
}

// An Example is a message that was found: the properties that some condition
// looks at, and the verdict.
type Example struct {
	Values  []Value
	Groups  map[uint32]bool // of those that Question.Groups leaves open, what mattered
	Cells   []CellValue     // state that some condition looks at
	Verdict image.Verdict
}

// A Value is what an example has for one property of a field.
type Value struct {
	Path     []uint32
	What     image.What
	Field    *image.Field
	Present  bool
	Long     int64
	Text     string
	IsText   bool
	Elements []image.Value // Count: the elements, if some condition asks for them
}

// Ask answers a question.
func Ask(q *Question) (Example, Answer) {
	s := &space{img: q.Image, root: q.Message, terms: map[string]*term{}, byPath: map[string]int{}, holds: q.Cells}
	for i := range q.Given {
		s.add(&q.Given[i])
	}
	for _, d := range q.Decisions {
		for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
			for i := range rules {
				s.add(&rules[i].When)
			}
		}
	}
	st := &state{present: make([]truth, len(s.presences)), answers: make([]truth, len(s.questions)), numbers: s.numbers, texts: s.texts,
		users: truths(q.Users), groups: truths(q.Groups)}
	a := &asker{Question: q, space: s, left: maxParts}
	a.search(st)
	switch {
	case a.found != nil:
		return *a.found, Found
	case a.unsure:
		return Example{}, Unknown
	}
	return Example{}, Never
}

func truths(m map[uint32]bool) map[uint32]truth {
	res := map[uint32]truth{}
	for k, v := range m {
		res[k] = truthOf(v, !v)
	}
	return res
}

type asker struct {
	*Question
	*space
	left   int
	unsure bool
	found  *Example
}

// A mark is what has to be known next.
type mark struct {
	presence int         // index, or -1
	atom     *image.Expr // a comparison, a user or a group
}

// search looks through a state. It stops when something is found.
func (a *asker) search(st *state) {
	if a.found != nil {
		return
	}
	if a.left--; a.left < 0 {
		a.unsure = true
		return
	}
	if !a.settle(st) || !st.narrow() {
		return
	}
	for i := range a.Given {
		switch t, m := a.eval(st, &a.Given[i]); t {
		case no:
			return
		case unsure:
			a.split(st, m)
			return
		}
	}
	v, m := a.decide(st)
	if m != nil {
		a.split(st, m)
		return
	}
	if a.Saw != nil {
		a.Saw(v)
	}
	if !a.Want(v) {
		return
	}
	if i := slices.Index(st.present, unsure); i >= 0 {
		a.split(st, &mark{presence: i})
		return
	}
	a.finish(st)
}

// finish makes an example of a state in which everything is decided: one with
// plain numbers if that is possible. That there is none with plain numbers
// proves nothing.
func (a *asker) finish(st *state) {
	if a.example(st.plain(a.cellNumbers())); a.found == nil {
		a.unsure = a.example(st) || a.unsure
	}
}

// example makes an example of a state in which everything is decided. It
// reports whether there may be one although it found none.
func (a *asker) example(st *state) (unsure bool) {
	e := Example{Groups: map[uint32]bool{}}
	for _, t := range a.order {
		v := Value{Path: t.path, What: t.what, Field: t.field, IsText: t.text,
			Present: !slices.ContainsFunc(t.present, func(p int) bool { return st.present[p] == no })}
		if t.text {
			word, found, all := st.texts[t.at].example()
			if !found {
				return !all
			}
			v.Text = word
		} else {
			v.Long = st.numbers[t.at].low()
		}
		if t.what == image.Count && v.Present {
			list, found, all := a.elements(st, t)
			if !found {
				return !all
			}
			if v.Elements = list; list != nil {
				v.Long = int64(len(list))
			}
		}
		e.Values = append(e.Values, v)
	}
	for _, t := range a.cells {
		e.Cells = append(e.Cells, CellValue{t.cell, uint32(a.likely(t, st))})
	}
	for _, p := range a.presences {
		e.Values = append(e.Values, Value{Path: p.path, What: image.Constant, Field: p.field, Present: st.present[a.byPath[pathKey(p.path)]] == yes})
	}
	for g, t := range st.groups {
		if _, said := a.Groups[g]; !said {
			e.Groups[g] = t == yes
		}
	}
	client := eval.Client{User: func(u uint32) bool { return st.users[u] == yes }, Member: func(g uint32) bool { return st.groups[g] == yes }}
	for i := range a.Given {
		if !eval.Holds(&a.Given[i], &e, client) {
			return true // not possible as far as is known; never an answer
		}
	}
	e.Verdict = image.Verdict{Policy: abi.NoPolicy}
	for _, d := range a.Decisions {
		if e.Verdict, _ = eval.Decide(d, &e, client); !e.Verdict.Allow {
			break
		}
	}
	if !a.Want(e.Verdict) {
		return true
	}
	a.found = &e
	return false
}

// plain narrows numbers to those that people expect in an example: from 1 up,
// or from 0, where that is possible.
func (st *state) plain(cells []int) *state {
	for i := range st.numbers {
		if slices.Contains(cells, i) {
			continue
		}
		for _, least := range []int64{1, 0} {
			c := st.clone()
			if c.numbers[i] = st.numbers[i].between(least, maxInt); c.narrow() {
				st = c
				break
			}
		}
	}
	return st
}

// decide is eval.Decide with what is known; it returns what has to be known
// next, if something has.
func (a *asker) decide(st *state) (image.Verdict, *mark) {
	v := image.Verdict{Policy: abi.NoPolicy}
	for _, d := range a.Decisions {
		var m *mark
		if v, m = a.one(st, d); m != nil || !v.Allow {
			return v, m
		}
	}
	return v, nil
}

func (a *asker) one(st *state, d *image.Decision) (image.Verdict, *mark) {
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			switch t, m := a.eval(st, &rules[i].When); t {
			case yes:
				return image.Verdict{Allow: !a.Image.Policies[rules[i].Policy].Forbid, Policy: rules[i].Policy}, nil
			case unsure:
				return image.Verdict{}, m
			}
		}
	}
	return image.Verdict{Policy: abi.NoPolicy}, nil
}

// split searches each part of a state.
func (a *asker) split(st *state, m *mark) {
	if m.presence >= 0 {
		for _, t := range []truth{yes, no} {
			c := st.clone()
			c.present[m.presence] = t
			a.search(c)
		}
		return
	}
	switch e := m.atom; e.Op {
	case image.User, image.Group:
		for _, t := range []truth{no, yes} {
			c := st.clone()
			if e.Op == image.User {
				c.users = with(st.users, e.Atom, t)
			} else {
				c.groups = with(st.groups, e.Atom, t)
			}
			a.search(c)
		}
	default:
		for _, c := range a.parts(st, e) {
			a.search(c)
		}
	}
}

func with(m map[uint32]truth, k uint32, t truth) map[uint32]truth {
	c := map[uint32]truth{k: t}
	for i, v := range m {
		if i != k {
			c[i] = v
		}
	}
	return c
}

// Has, Long and Text make an Example the parameters of a message.
func (e *Example) Has(path []uint32) bool {
	return slices.ContainsFunc(e.Values, func(v Value) bool { return v.What == image.Constant && v.Present && slices.Equal(v.Path, path) })
}

func (e *Example) Long(path []uint32, what image.What) int64 { return e.at(path, what).Long }

func (e *Example) Text(path []uint32) string { return e.at(path, image.Scalar).Text }

func (e *Example) at(path []uint32, what image.What) Value {
	for _, v := range e.Values {
		if v.What == what && slices.Equal(v.Path, path) {
			return v
		}
	}
	return Value{}
}
