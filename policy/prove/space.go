package prove

import (
	"encoding/binary"
	"slices"

	"ward/image"
)

// truth is the value of a condition of which not all is known.
type truth uint8

const (
	unsure truth = iota
	yes
	no
)

func truthOf(isYes, isNo bool) truth {
	switch {
	case isYes:
		return yes
	case isNo:
		return no
	}
	return unsure
}

func (t truth) not() truth { return [...]truth{unsure, no, yes}[t] }

// A term is a property of a field that some condition looks at.
type term struct {
	path    []uint32
	what    image.What
	cell    uint32 // CellValue
	field   *image.Field
	present []int // presences on the path, the outermost first
	text    bool
	at      int // in state.numbers or state.texts
}

// A presence is an optional field on the path of some term, or its sibling in
// a oneof.
type presence struct {
	path   []uint32
	field  *image.Field
	parent int // presence of the nearest optional message around it, or -1
	oneof  int // in space.oneofs, or -1
}

// A oneof is one of which a term looks at a member.
type oneof struct {
	parent   int // presence of the message around it, or -1
	required bool
	members  []int
}

// space is the messages that a question is about: the terms of its conditions.
type space struct {
	img       *image.Image
	root      *image.Message
	beside    *image.Message // nil: not made yet
	terms     map[string]*term
	presences []presence
	byPath    map[string]int
	oneofs    []oneof
	numbers   []ranges // where present
	texts     []*text
	order     []*term
	cells     []*term             // those of state, in order
	holds     map[uint32][]uint32 // Question.Cells
	questions []question
}

func pathKey(path []uint32) string {
	var b []byte
	for _, n := range path {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return string(b)
}

func termKey(o *image.Operand) string {
	if o.What == image.CellValue {
		return string(rune(o.What)) + pathKey([]uint32{o.Cell})
	}
	return string(rune(o.What)) + pathKey(o.Path)
}

// add notes all that a condition looks at.
func (s *space) add(e *image.Expr) {
	for i := range e.Args {
		s.add(&e.Args[i])
	}
	if e.Op == image.Has {
		s.walk(e.Path)
	}
	if e.Op == image.AnyIn || e.Op == image.AnyOut {
		s.question(e)
		return
	}
	for _, o := range []*image.Operand{&e.Left, &e.Right} {
		if o.What != image.Constant {
			s.term(o)
		}
	}
}

func (s *space) term(o *image.Operand) {
	key := termKey(o)
	if s.terms[key] != nil {
		return
	}
	if o.What == image.CellValue {
		s.terms[key] = s.cell(o.Cell)
		return
	}
	f, present := s.walk(o.Path)
	t := &term{path: o.Path, what: o.What, field: f, present: present}
	if t.text = o.What == image.Scalar && f.Type == image.String; t.text {
		t.at = len(s.texts)
		s.texts = append(s.texts, newText(f))
	} else {
		t.at = len(s.numbers)
		s.numbers = append(s.numbers, bounds(f, o.What))
	}
	s.terms[key] = t
	s.order = append(s.order, t)
}

// walk finds the field at the end of a path, and the presences on the way.
// The path is one that image.Check accepts.
func (s *space) walk(path []uint32) (*image.Field, []int) {
	m, parent := s.root, -1
	var present []int
	for i, number := range path {
		if i == 0 && number == image.MetadataField {
			m = s.besides()
			continue
		}
		f := fieldOf(m, number)
		if f.Card == image.Optional {
			parent = s.presence(m, f, path[:i+1], parent)
			present = append(present, parent)
		}
		if i == len(path)-1 {
			return f, present
		}
		m = &s.img.Messages[f.Message]
	}
	return nil, nil
}

// besides is the metadata beside the messages.
func (s *space) besides() *image.Message {
	if s.beside == nil {
		s.beside = s.img.Beside()
	}
	return s.beside
}

func fieldOf(m *image.Message, number uint32) *image.Field {
	i := slices.IndexFunc(m.Fields, func(f image.Field) bool { return f.Number == number })
	return &m.Fields[i]
}

// presence returns the index of the presence of a field, making it and those
// of its oneof.
func (s *space) presence(m *image.Message, f *image.Field, path []uint32, parent int) int {
	if i, ok := s.byPath[pathKey(path)]; ok {
		return i
	}
	add := func(f *image.Field, of int) int {
		p := append(slices.Clone(path[:len(path)-1]), f.Number)
		i := len(s.presences)
		s.presences = append(s.presences, presence{path: p, field: f, parent: parent, oneof: of})
		s.byPath[pathKey(p)] = i
		return i
	}
	if f.Oneof == 0 {
		return add(f, -1)
	}
	o := oneof{parent: parent}
	for i := range m.Fields {
		if m.Fields[i].Oneof == f.Oneof {
			o.members = append(o.members, add(&m.Fields[i], len(s.oneofs)))
		}
	}
	for _, r := range m.Required {
		o.required = o.required || len(r.Fields) > 0 && m.Fields[r.Fields[0]].Oneof == f.Oneof && len(r.Fields) == len(o.members)
	}
	s.oneofs = append(s.oneofs, o)
	return s.byPath[pathKey(path)]
}

// edge says that one number is below another, or at most that.
type edge struct {
	low, high int
	strict    bool
}

// state is a part of the space. Its parts are not changed in place, but for
// those that clone copies.
type state struct {
	present []truth
	answers []truth // of space.questions; copied when one changes
	numbers []ranges
	texts   []*text
	edges   []edge
	users   map[uint32]truth
	groups  map[uint32]truth
}

func (st *state) clone() *state {
	c := *st
	c.present, c.numbers, c.texts = slices.Clone(st.present), slices.Clone(st.numbers), slices.Clone(st.texts)
	c.edges = slices.Clip(st.edges)
	return &c
}

// settle draws conclusions about presence until there are no more. It reports
// whether the state may still hold a message.
func (s *space) settle(st *state) bool {
	for changed := true; changed; {
		changed = false
		set := func(i int, t truth) bool {
			if st.present[i] == unsure {
				st.present[i], changed = t, true
			}
			return st.present[i] == t
		}
		for i, p := range s.presences {
			around := yes
			if p.parent >= 0 {
				around = st.present[p.parent]
			}
			switch {
			case around == no && !set(i, no),
				around == yes && p.field.Required && !set(i, yes),
				around == unsure && st.present[i] == yes && !set(p.parent, yes):
				return false
			}
		}
		for _, o := range s.oneofs {
			there, open, last := 0, 0, -1
			for _, m := range o.members {
				switch st.present[m] {
				case yes:
					there++
				case unsure:
					open, last = open+1, m
				}
			}
			needed := o.required && (o.parent < 0 || st.present[o.parent] == yes)
			switch {
			case there > 1, needed && there+open == 0:
				return false
			case there == 1 && open > 0:
				for _, m := range o.members {
					if st.present[m] == unsure {
						set(m, no)
					}
				}
			case needed && there == 0 && open == 1:
				set(last, yes)
			}
		}
	}
	for _, t := range s.order {
		absent := slices.ContainsFunc(t.present, func(p int) bool { return st.present[p] == no })
		switch {
		case absent && t.text && st.texts[t.at].field != absentField:
			st.texts[t.at] = &text{field: absentField, finite: true, fixed: []string{""}}
		case absent && !t.text && (len(st.numbers[t.at]) != 1 || st.numbers[t.at][0] != interval{}):
			st.numbers[t.at] = point(0)
		}
	}
	return true
}

// absentField bounds the text of a field that is absent.
var absentField = &image.Field{Type: image.String}

// known reports whether it is known of all fields on the way whether they are
// there; else which to ask about first.
func (t *term) known(st *state) (bool, int) {
	for _, p := range t.present {
		if st.present[p] == no {
			return true, -1
		}
		if st.present[p] == unsure {
			return false, p
		}
	}
	return true, -1
}

// narrow draws conclusions from the order of numbers. It reports whether the
// state may still hold a message.
func (st *state) narrow() bool {
	const maxRounds = 1000 // else it stops early: what is left is too much, not too little
	for round, changed := 0, true; changed && round < maxRounds; round++ {
		changed = false
		for _, r := range st.numbers {
			if len(r) == 0 {
				return false
			}
		}
		for _, e := range st.edges {
			low, high := st.numbers[e.low], st.numbers[e.high]
			if len(low) == 0 || len(high) == 0 {
				return false
			}
			gap := int64(0)
			if e.strict {
				if low.low() == maxInt || high.high() == minInt {
					return false
				}
				gap = 1
			}
			if h := high.between(low.low()+gap, maxInt); !slices.Equal(h, high) {
				st.numbers[e.high], changed = h, true
			}
			if l := low.between(minInt, high.high()-gap); !slices.Equal(l, low) {
				st.numbers[e.low], changed = l, true
			}
		}
	}
	for _, t := range st.texts {
		if t.empty() {
			return false
		}
	}
	return true
}

const (
	minInt = -1 << 63
	maxInt = 1<<63 - 1
)

// below reports whether edges lead from one number up to another, and whether
// one of them is strict.
func (st *state) below(from, to int) (leads, strict bool) {
	if from == to {
		return true, false
	}
	type node struct {
		at     int
		strict bool
	}
	seen := map[node]bool{}
	for todo := []node{{from, false}}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		for _, e := range st.edges {
			if e.low == n.at {
				todo = append(todo, node{e.high, n.strict || e.strict})
			}
		}
	}
	return seen[node{to, true}] || seen[node{to, false}], seen[node{to, true}]
}
