package filter

import (
	"fmt"
	"slices"
	"strings"

	"ward/image"
)

// A captureTree says, per field number, what of a message is remembered.
type captureTree struct {
	value, count int // 1 + capture slot; 0: not
	children     map[uint32]*captureTree
}

// captureSet is what the decision of one method looks at, in its slots.
type captureSet struct {
	params []Param
	tree   *captureTree
}

// slot returns the capture slot of a property of a field.
func (c *captureSet) slot(path []uint32, count bool) int {
	t := c.tree
	for _, n := range path {
		t = t.children[n]
	}
	if count {
		return t.count - 1
	}
	return t.value - 1
}

// captures collects the parameters that d looks at, in the order of their
// paths, so that slots do not depend on the order of policies.
func captures(img *image.Image, root uint32, d image.Decision) (*captureSet, error) {
	var all []Param
	var err error
	add := func(path []uint32, count bool) {
		p := Param{Path: path, Count: count}
		if e := resolve(img, root, &p); e != nil && err == nil {
			err = e
		}
		all = append(all, p)
	}
	operand := func(o image.Operand) {
		if o.What != image.Constant {
			add(o.Path, o.What == image.Count)
		}
	}
	var walk func(e *image.Expr)
	walk = func(e *image.Expr) {
		switch e.Op {
		case image.Has:
			add(e.Path, false)
		case image.Eq, image.Less, image.LessEq, image.In, image.Prefix, image.Suffix:
			operand(e.Left)
			operand(e.Right)
		}
		for i := range e.Args {
			walk(&e.Args[i])
		}
	}
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			walk(&rules[i].When)
		}
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
	if len(all) > Captures {
		return nil, fmt.Errorf("its policies look at %d parameters, the limit is %d; look at fewer, or split the method", len(all), Captures)
	}
	set := &captureSet{params: all, tree: &captureTree{}}
	for i, p := range all {
		t := set.tree
		for _, n := range p.Path {
			if t.children == nil {
				t.children = map[uint32]*captureTree{}
			}
			if t.children[n] == nil {
				t.children[n] = &captureTree{}
			}
			t = t.children[n]
		}
		if p.Count {
			t.count = i + 1
		} else {
			t.value = i + 1
		}
	}
	return set, nil
}

// resolve fills in what a parameter's path leads to.
func resolve(img *image.Image, root uint32, p *Param) error {
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
