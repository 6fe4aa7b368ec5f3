package filter

import (
	"fmt"
	"slices"
	"strings"

	"ward/image"
)

// A captureTree says, per field number, what of a message is remembered.
type captureTree struct {
	value, count    int // 1 + capture slot; 0: not
	tests, patterns int // of the answers to testSet, of the state of patternSet
	testSet         *testSet
	patternSet      *patternSet
	children        map[uint32]*captureTree
}

// captureSet is what the decision of one method looks at, in its slots.
type captureSet struct {
	params   []Param
	tests    []*testSet // their slots come after those of params, and then those of patterns
	patterns []*patternSet
	tree     *captureTree
}

// beside is what is remembered of metadata; nil: nothing.
func (c *captureSet) beside() *captureTree { return c.tree.children[image.MetadataField] }

// body is what is remembered of the message itself; nil: nothing.
func (c *captureSet) body() *captureTree {
	if c.beside() != nil && len(c.tree.children) == 1 {
		return nil
	}
	return c.tree
}

// at returns what is remembered of a field.
func (c *captureSet) at(path []uint32) *captureTree {
	t := c.tree
	for _, n := range path {
		t = t.children[n]
	}
	return t
}

// slot returns the capture slot of a property of a field.
func (c *captureSet) slot(path []uint32, count bool) int {
	t := c.at(path)
	if count {
		return t.count - 1
	}
	return t.value - 1
}

// captures collects the parameters that d looks at, and what the filter itself
// looks at of a handle (nil: nothing), in the order of their paths, so that slots
// do not depend on the order of policies.
func captures(img *image.Image, root uint32, d image.Decision, handle []uint32) (*captureSet, error) {
	var all []Param
	var err error
	add := func(path []uint32, count bool) {
		p := Param{Path: path, Count: count}
		if e := resolve(img, root, &p); e != nil && err == nil {
			err = e
		}
		all = append(all, p)
	}
	set := &captureSet{tree: &captureTree{}}
	operand := func(o image.Operand) {
		if len(o.Path) > 0 && o.What != image.Elements {
			add(o.Path, o.What == image.Count)
		}
	}
	var walk func(e *image.Expr)
	walk = func(e *image.Expr) {
		switch e.Op {
		case image.Has:
			add(e.Path, false)
		case image.Eq, image.Less, image.LessEq, image.In, image.Prefix, image.Suffix, image.Like:
			operand(e.Left)
			operand(e.Right)
		}
		set.ask(e)
		for i := range e.Args {
			walk(&e.Args[i])
		}
	}
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			walk(&rules[i].When)
		}
	}
	for _, claim := range claims(handle) {
		add(claim, false)
	}
	if err != nil {
		return nil, err
	}
	order := func(a, b Param) int {
		if c := slices.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		switch {
		case a.Count == b.Count:
			return 0
		case b.Count:
			return -1
		}
		return 1
	}
	slices.SortFunc(all, order)
	all = slices.CompactFunc(all, func(a, b Param) bool { return order(a, b) == 0 })
	if n := len(all) + len(set.tests) + len(set.patterns); n > Captures {
		what := "its policies look at"
		if handle != nil {
			what = "its policies and its handle take"
		}
		return nil, fmt.Errorf("%s %d parameters, the limit is %d; look at fewer, or split the method", what, n, Captures)
	}
	set.params = all
	for i, p := range all {
		t := set.tree.grow(p.Path)
		if p.Count {
			t.count = i + 1
		} else {
			t.value = i + 1
		}
	}
	for i, q := range set.tests {
		t := set.tree.grow(q.path)
		t.tests, t.testSet = len(all)+i+1, q
	}
	for i, q := range set.patterns {
		t := set.tree.grow(q.path)
		t.patterns, t.patternSet = len(all)+len(set.tests)+i+1, q
	}
	return set, nil
}

// ask notes what e asks of a parameter while it is read.
func (c *captureSet) ask(e *image.Expr) {
	path := e.Left.Path
	if e.Tabled() {
		i := slices.IndexFunc(c.tests, func(s *testSet) bool { return slices.Equal(s.path, path) })
		if i < 0 {
			i = len(c.tests)
			c.tests = append(c.tests, &testSet{path: path})
		}
		c.tests[i].bit(e)
	}
	if e.Scanned() {
		i := slices.IndexFunc(c.patterns, func(s *patternSet) bool { return slices.Equal(s.path, path) })
		if i < 0 {
			i = len(c.patterns)
			c.patterns = append(c.patterns, &patternSet{path: path})
		}
		c.patterns[i].accept(e)
	}
}

// grow returns the tree of a field, which it makes.
func (c *captureTree) grow(path []uint32) *captureTree {
	for _, n := range path {
		if c.children == nil {
			c.children = map[uint32]*captureTree{}
		}
		if c.children[n] == nil {
			c.children[n] = &captureTree{}
		}
		c = c.children[n]
	}
	return c
}

// resolve fills in what a parameter's path leads to.
func resolve(img *image.Image, root uint32, p *Param) error {
	if image.IsMetadata(p.Path) {
		f := img.FieldAt(nil, p.Path)
		if f == nil || len(p.Path) != 2 || p.Count {
			return fmt.Errorf("a condition looks at metadata %v: there are %d keys", p.Path, len(img.Metadata))
		}
		p.Type, p.Field, p.Text, p.Name = f.Type, p.Path[1]-1, true, img.PathName(nil, p.Path)
		return nil
	}
	msg := root
	var names []string
	for i, n := range p.Path {
		m := &img.Messages[msg]
		at := slices.IndexFunc(m.Fields, func(f image.Field) bool { return f.Number == n })
		if at < 0 {
			return fmt.Errorf("message %s has no field %d", m.Name, n)
		}
		f := &m.Fields[at]
		names = append(names, f.Name)
		last := i == len(p.Path)-1
		if !last && (f.Type != image.Nested || f.Card == image.Repeated) {
			return fmt.Errorf("field %s.%s is not a single message", m.Name, f.Name)
		}
		if last {
			if p.Count != (f.Card == image.Repeated) {
				return fmt.Errorf("field %s.%s: a condition looks at the number of elements of a repeated field only, and at the value of another", m.Name, f.Name)
			}
			p.Type, p.Message, p.Field = f.Type, msg, uint32(at)
			p.Text = !p.Count && (f.Type == image.String || f.Type == image.Bytes)
		}
		msg = f.Message
	}
	if len(names) == 0 {
		return fmt.Errorf("a condition looks at no field")
	}
	p.Name = strings.Join(names, ".")
	return nil
}
