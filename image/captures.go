package image

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// LargeSet is the number of members up to which a filter compares a parameter
// with a set by instructions. A larger one is a table, which the walk consults
// when it reads the parameter.
const LargeSet = 64

// MaxSet is the number of members that one set of a condition may have.
const MaxSet = 1 << 15

// MaxTests is the number of different sets that the elements of one repeated
// parameter, or large sets that one parameter, may be compared with in the
// policies of one method and direction.
const MaxTests = 63

// MaxPattern is the number of bytes that the texts of the patterns with text
// in the middle may have for one parameter in the policies of one method and
// direction, one more for each pattern.
const MaxPattern = 64

// Tabled reports whether a filter answers e while it walks, by a table.
func (e *Expr) Tabled() bool {
	return e.Op == AnyIn || e.Op == AnyOut || e.Op == In && len(e.Set) > LargeSet
}

// Scanned reports whether a filter answers e while it walks, byte by byte: a
// pattern with text in the middle. One with text at the ends only is compared
// there.
func (e *Expr) Scanned() bool { return e.Op == Like && len(e.Set) > 2 }

// hasSet reports whether e's operation has a set.
func (e *Expr) hasSet() bool {
	return e.Op == In || e.Op == Like || e.Op == AnyIn || e.Op == AnyOut
}

// PatternSize is the share of MaxPattern that a pattern takes.
func (e *Expr) PatternSize() int {
	n := 1
	for _, v := range e.Set {
		n += len(v.String)
	}
	return n
}

// sameTest reports whether two operations with a set test the same.
func (e *Expr) sameTest(f *Expr) bool {
	out := func(x *Expr) bool { return x.Op == AnyOut }
	return out(e) == out(f) && slices.Equal(e.Set, f.Set)
}

// Kinds of what a filter keeps of a parameter: each takes a slot.
const (
	captureValue byte = iota
	captureCount
	captureTests
	capturePatterns
)

// captured is what a decision looks at.
type captured struct {
	slots map[string][]*Expr // by kind and path; tests and patterns with what is asked
}

func (c *captured) note(kind byte, path []uint32, e *Expr) {
	key := []byte{kind}
	for _, n := range path {
		key = binary.AppendUvarint(key, uint64(n))
	}
	asked := c.slots[string(key)]
	if e != nil && !slices.ContainsFunc(asked, e.sameTest) {
		asked = append(asked, e)
	}
	c.slots[string(key)] = asked
}

func (c *captured) expr(e *Expr) {
	if e.Op == Has {
		c.note(captureValue, e.Path, nil)
	}
	for _, o := range []*Operand{&e.Left, &e.Right} {
		switch {
		case len(o.Path) == 0 || o.What == Elements:
		case o.What == Count:
			c.note(captureCount, o.Path, nil)
		default:
			c.note(captureValue, o.Path, nil)
		}
	}
	if e.Tabled() {
		c.note(captureTests, e.Left.Path, e)
	}
	if e.Scanned() {
		c.note(capturePatterns, e.Left.Path, e)
	}
	for i := range e.Args {
		c.expr(&e.Args[i])
	}
}

// Fits reports what d looks at beyond what a filter can keep of one message:
// MaxCaptures slots, MaxTests and MaxPattern.
func (d *Decision) Fits() error { return d.FitsWith(nil) }

// FitsWith is Fits of a message with a handle at a path: a filter looks at what
// the handle claims, too.
func (d *Decision) FitsWith(handle []uint32) error {
	if len(d.Permit)+len(d.Forbid) == 0 {
		return nil
	}
	c := captured{slots: map[string][]*Expr{}}
	if handle != nil {
		for _, f := range []uint32{HandleID, HandleKind, HandleSize, HandleWrite} {
			c.note(captureValue, append(slices.Clip(handle), f), nil)
		}
	}
	for _, rules := range [][]Rule{d.Permit, d.Forbid} {
		for i := range rules {
			c.expr(&rules[i].When)
		}
	}
	if n := len(c.slots); n > MaxCaptures {
		return fmt.Errorf("the policies of one method look at %d parameters: the limit is %d", n, MaxCaptures)
	}
	for key, asked := range c.slots {
		sum := 0
		for _, e := range asked {
			sum += e.PatternSize()
		}
		if key[0] == capturePatterns && sum > MaxPattern {
			return fmt.Errorf("the patterns with text in the middle that the policies of one method compare one parameter with have %d bytes: the limit is %d, and each counts one more", sum, MaxPattern)
		}
		if key[0] == captureTests && len(asked) > MaxTests {
			return fmt.Errorf("the policies of one method compare one parameter with %d sets: the limit is %d", len(asked), MaxTests)
		}
	}
	return nil
}

// like checks a pattern.
func (c *exprChecker) like(e *Expr) error {
	left, err := c.operand(&e.Left)
	if err != nil {
		return err
	}
	if left != kindText || e.Left.What != Scalar || len(e.Set) < 2 || e.PatternSize() > MaxString {
		return fmt.Errorf("like: not a text, or a pattern without a gap")
	}
	for i := range e.Set {
		inner := i > 0 && i < len(e.Set)-1
		if !e.Set[i].IsString || e.Set[i].both() || inner && e.Set[i].String == "" {
			return fmt.Errorf("like: a pattern with an empty text in the middle, or with a number")
		}
	}
	return nil
}

// anyOf checks a test of the elements of a repeated parameter.
func (c *exprChecker) anyOf(e *Expr) error {
	if e.Left.What != Elements {
		return fmt.Errorf("a test of elements without elements")
	}
	f, err := c.field(e.Left.Path)
	if err != nil {
		return err
	}
	text := f.Type == String
	if f.Card != Repeated || f.wide() || !text && !f.Type.integer() && f.Type != Bool {
		return fmt.Errorf("the elements of field %s, which has none that can be compared", f.Name)
	}
	return setInOrder(e.Set, text)
}

// setInOrder checks that a set is of one type, sorted and unique.
func setInOrder(set []Value, text bool) error {
	if len(set) > MaxSet {
		return fmt.Errorf("a set of %d members: the limit is %d", len(set), MaxSet)
	}
	for i := range set {
		if set[i].IsString != text || set[i].both() || i > 0 && !set[i].above(&set[i-1]) {
			return fmt.Errorf("the set is of another type, or not in order, each once")
		}
	}
	return nil
}
