package compare

import (
	"slices"
	"strings"

	"ward/image"
)

// Bounds of the search, in nodes of expressions evaluated: for one pair of
// decisions, for all pairs of two images, and what each pair has in any case.
const (
	oneSearch   = 4_000_000
	allSearches = 100_000_000
	leastSearch = 20_000
)

// A variable is something that a condition looks at: a field, or who the user is.
type variable struct {
	key    string
	path   []uint32
	fields []*image.Field // in the messages of both sides; empty for users
	parent int            // the message around it; -1: none
	oneof  uint32
	cells  []cell
}

// A searcher splits the arguments of a message into cases until both decisions
// are known in each. The split is exhaustive unless the budget ends.
type searcher struct {
	pair
	vars   []*variable
	byKey  map[string]int
	at     []*cell // what is assigned, by variable
	budget int
	cases  int
	found  [2]*flip // to deny, to allow
	open   [2]bool  // a flip is not excluded
}

// A flip is a message on which the decisions differ, reduced to what matters.
type flip struct {
	args     map[string]any
	user     string
	groups   []string
	state    map[string]string
	old, new image.Verdict
}

func pathKey(path []uint32) string {
	key := make([]byte, 0, 4*len(path)+1)
	key = append(key, '.')
	for _, n := range path {
		key = append(key, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return string(key)
}

// key names the variable of a condition without arguments; "" if there is none.
func (x *side) key(e *image.Expr) string {
	switch {
	case e.Op == image.User:
		return "user"
	case e.Op == image.Group:
		return "group " + x.Groups[e.Atom]
	case len(e.Path) > 0:
		return pathKey(e.Path)
	case len(e.Left.Path) > 0:
		return pathKey(e.Left.Path)
	case len(e.Right.Path) > 0:
		return pathKey(e.Right.Path)
	}
	return ""
}

// atoms lists the conditions without arguments of a decision.
func atoms(d *image.Decision) (all []*image.Expr) {
	var walk func(e *image.Expr)
	walk = func(e *image.Expr) {
		for i := range e.Args {
			walk(&e.Args[i])
		}
		if len(e.Args) == 0 && e.Op != image.True && e.Op != image.False {
			all = append(all, e)
		}
	}
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			walk(&rules[i].When)
		}
	}
	return all
}

// newSearcher finds the variables and their cells. A reason says why the two
// cannot be compared by search.
func newSearcher(p pair) (s *searcher, reason string) {
	s = &searcher{pair: p, byKey: map[string]int{}}
	b := cellBuilder{searcher: s, sides: []*side{&s.old, &s.new}}
	for _, x := range b.sides {
		for _, e := range atoms(x.decision) {
			for _, path := range [][]uint32{e.Path, e.Left.Path, e.Right.Path} {
				if len(path) > 0 {
					if reason = s.field(path); reason != "" {
						return s, reason
					}
				}
			}
			if e.Op == image.User || e.Op == image.Group {
				s.add(&variable{key: x.key(e), parent: -1})
			}
		}
	}
	reason = b.cells()
	s.at = make([]*cell, len(s.vars))
	return s, reason
}

func (s *searcher) add(v *variable) int {
	i, ok := s.byKey[v.key]
	if !ok {
		i = len(s.vars)
		s.byKey[v.key] = i
		s.vars = append(s.vars, v)
	}
	return i
}

// field adds the variables of a path: of each message on it, and of its end.
func (s *searcher) field(path []uint32) (reason string) {
	parent := -1
	first := 1
	if image.IsMetadata(path) {
		first = len(path) // no message around it may be absent
	}
	for n := first; n <= len(path); n++ {
		v := &variable{key: pathKey(path[:n]), path: path[:n], parent: parent}
		for _, x := range []*side{&s.old, &s.new} {
			if x.message == nil {
				continue
			}
			f := x.field(path[:n])
			if f == nil || len(v.fields) > 0 && (f.Type != v.fields[0].Type || f.Card != v.fields[0].Card || f.Oneof != v.fields[0].Oneof) {
				return "a parameter of the conditions is not the same in both interfaces"
			}
			v.fields, v.oneof = append(v.fields, f), f.Oneof
		}
		parent = s.add(v)
	}
	return ""
}

func (x *side) field(path []uint32) *image.Field {
	if image.IsMetadata(path) {
		return x.FieldAt(nil, path)
	}
	m := x.message
	for i, n := range path {
		f := fieldOf(m, n)
		if f == nil || i == len(path)-1 {
			return f
		}
		if f.Type != image.Nested {
			return nil
		}
		m = &x.Messages[f.Message]
	}
	return nil
}

var absent = &cell{absent: true}

// gone reports whether a message around a variable is absent.
func (s *searcher) gone(v *variable) bool {
	for p := v.parent; p >= 0; p = s.vars[p].parent {
		if s.at[p] != nil && s.at[p].absent {
			return true
		}
	}
	return false
}

// assigned is the cell of a variable; nil if it is not known yet.
func (s *searcher) assigned(key string) *cell {
	if key == "" {
		return &cell{}
	}
	i := s.byKey[key]
	if s.gone(s.vars[i]) {
		return absent
	}
	return s.at[i]
}

// walk assigns variable i and those after it in every way, as far as the
// decisions are not known without them.
func (s *searcher) walk(i int) {
	if s.found[0] != nil && s.found[1] != nil {
		return
	}
	if s.budget <= 0 {
		s.open = [2]bool{true, true}
		return
	}
	s.cases++
	o, _ := s.decide(&s.old)
	n, _ := s.decide(&s.new)
	if o != unknown && n != unknown {
		if o != n {
			s.flip(i, n)
		}
		return
	}
	s.each(i, false, func() bool { s.walk(i + 1); return false })
}

// each assigns variable i in every way that is possible, and stops when f says so.
func (s *searcher) each(i int, concrete bool, f func() bool) bool {
	v := s.vars[i]
	if s.gone(v) {
		return f()
	}
	defer func() { s.at[i] = nil }()
	for j := range v.cells {
		c := &v.cells[j]
		if concrete && c.abstract || !c.absent && s.taken(i) {
			continue
		}
		s.at[i] = c
		if f() {
			return true
		}
	}
	return false
}

// taken reports whether another member of the oneof of variable i is present.
func (s *searcher) taken(i int) bool {
	v := s.vars[i]
	for j, w := range s.vars {
		if j != i && v.oneof != 0 && w.oneof == v.oneof && w.parent == v.parent && s.at[j] != nil && !s.at[j].absent {
			return true
		}
	}
	return false
}

// flip notes that the decisions differ on what is assigned before i, if there
// is a message like that.
func (s *searcher) flip(i int, now tri) {
	dir := 0
	if now == yes {
		dir = 1
	}
	if s.found[dir] != nil {
		return
	}
	concrete := !slices.ContainsFunc(s.at[:i], func(c *cell) bool { return c != nil && c.abstract })
	if concrete && s.complete(i, true, func() { s.found[dir] = s.example() }) {
		return
	}
	if s.complete(i, false, func() {}) {
		s.open[dir] = true
	}
}

// complete assigns what is left and calls f once, if that is possible.
func (s *searcher) complete(i int, concrete bool, f func()) bool {
	if s.budget--; s.budget <= 0 {
		s.open = [2]bool{true, true}
		return false
	}
	if i == len(s.vars) {
		if !s.whole() {
			return false
		}
		f()
		return true
	}
	return s.each(i, concrete, func() bool { return s.complete(i+1, concrete, f) })
}

// whole reports whether each required oneof has a member, as far as all its
// members are variables.
func (s *searcher) whole() bool {
	for parent := -1; parent < len(s.vars); parent++ {
		for _, x := range []*side{&s.old, &s.new} {
			m := x.message
			var path []uint32
			if parent >= 0 {
				v := s.vars[parent]
				if len(v.fields) == 0 || v.fields[0].Type != image.Nested || s.at[parent] == nil || s.at[parent].absent || s.gone(v) || m == nil {
					continue
				}
				path = v.path
				f := x.field(path)
				if f.Card == image.Repeated {
					continue
				}
				m = &x.Messages[f.Message]
			}
			if m != nil && !s.oneofs(m, path) {
				return false
			}
		}
	}
	return true
}

func (s *searcher) oneofs(m *image.Message, path []uint32) bool {
	for _, r := range m.Required {
		missing := func(i uint32) bool {
			j, ok := s.byKey[pathKey(append(path[:len(path):len(path)], m.Fields[i].Number))]
			return ok && s.at[j] != nil && s.at[j].absent
		}
		if !slices.ContainsFunc(r.Fields, func(i uint32) bool { return !missing(i) }) {
			return false
		}
	}
	return true
}

// example reduces what is assigned to what the verdicts rest on.
func (s *searcher) example() *flip {
	f := &flip{args: map[string]any{}}
	was, before := s.decide(&s.old)
	is, after := s.decide(&s.new)
	f.old, f.new = before, after
	full := slices.Clone(s.at)
	defer func() { copy(s.at, full) }()
	for i := len(s.at) - 1; i >= 0; i-- {
		inside := func(v *variable) bool { return v.parent == i }
		if slices.ContainsFunc(s.vars, func(v *variable) bool { return inside(v) && s.at[s.byKey[v.key]] != nil }) {
			continue
		}
		c := s.at[i]
		s.at[i] = nil
		o, _ := s.decide(&s.old)
		n, _ := s.decide(&s.new)
		if o != was || n != is {
			s.at[i] = c
		}
	}
	for i, v := range s.vars {
		if c := s.at[i]; c != nil && !s.gone(v) {
			s.write(f, v, c)
		}
	}
	return f
}

// write adds a variable to an example, in the form of Cedar's context.
func (s *searcher) write(f *flip, v *variable, c *cell) {
	if len(v.fields) == 0 {
		group, isGroup := strings.CutPrefix(v.key, "group ")
		switch {
		case !isGroup && c.text == "":
			f.user = "somebody else"
		case !isGroup:
			f.user = c.text
		case c.long != 0:
			f.groups = append(f.groups, group)
		}
		return
	}
	args := f.args
	x := &s.new
	if x.message == nil {
		x = &s.old
	}
	for n := 1; n < len(v.path); n++ {
		args = into(args, x.field(v.path[:n]).Name)
	}
	field := x.field(v.path)
	var value any = c.long
	switch {
	case c.absent:
		value = nil
	case field.Card == image.Repeated:
		value = map[string]any{"count": c.long}
	case field.Type == image.Bytes:
		value = map[string]any{"size": c.long}
	case field.Type == image.Bool:
		value = c.long != 0
	case field.Type == image.String:
		value = c.text
	case field.Type == image.Nested:
		if _, ok := args[field.Name]; ok {
			return
		}
		value = map[string]any{}
	}
	args[field.Name] = value
}
