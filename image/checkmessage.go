package image

import (
	"fmt"
	"math"
	"slices"

	"ward/abi"
)

func (c *checker) messages() error {
	depth := make([]int, len(c.img.Messages)) // 0: not visited, -1: being visited
	for i := range c.img.Messages {
		if err := c.message(uint32(i), 1, depth); err != nil {
			return err
		}
	}
	return nil
}

// message checks message i and those nested in it; depth[i] becomes the
// number of levels, itself included. A message may be reached only once more
// while it is being visited: that is recursion, and refused.
func (c *checker) message(i uint32, level int, depth []int) error {
	m := &c.img.Messages[i]
	if level > MaxNesting {
		return fmt.Errorf("message %q is nested more than %d deep", clip(m.Name), MaxNesting)
	}
	if !isProtoName(m.Name) {
		return fmt.Errorf("message %q is not a name", clip(m.Name))
	}
	if len(m.Fields) > MaxFields {
		return fmt.Errorf("message %s has %d fields: the limit is %d", m.Name, len(m.Fields), MaxFields)
	}
	depth[i] = -1
	below, last := 0, uint32(0)
	for j := range m.Fields {
		f := &m.Fields[j]
		if f.Number <= last {
			return fmt.Errorf("message %s: fields are not in the order of their numbers", m.Name)
		}
		last = f.Number
		if err := c.field(f); err != nil {
			return fmt.Errorf("message %s, field %q: %w", m.Name, clip(f.Name), err)
		}
		if f.Type != Nested {
			continue
		}
		if depth[f.Message] < 0 {
			return fmt.Errorf("message %s contains itself", m.Name)
		}
		if depth[f.Message] == 0 {
			if err := c.message(f.Message, level+1, depth); err != nil {
				return err
			}
		}
		below = max(below, depth[f.Message])
	}
	if depth[i] = below + 1; depth[i] > MaxNesting {
		return fmt.Errorf("message %s nests %d deep: the limit is %d", m.Name, depth[i], MaxNesting)
	}
	return required(m)
}

func required(m *Message) error {
	seen := map[uint32]bool{}
	for _, o := range m.Required {
		if len(o.Fields) == 0 || !isIdent(o.Name) || !slices.IsSorted(o.Fields) {
			return fmt.Errorf("message %s: required oneof %q has no name, no fields, or is not in order", m.Name, clip(o.Name))
		}
		group := uint32(0)
		for k, f := range o.Fields {
			if int(f) >= len(m.Fields) || m.Fields[f].Oneof == 0 || k > 0 && m.Fields[f].Oneof != group {
				return fmt.Errorf("message %s: required oneof %s names a field that is not its member", m.Name, o.Name)
			}
			group = m.Fields[f].Oneof
		}
		if seen[group] {
			return fmt.Errorf("message %s: oneof %s is required twice", m.Name, o.Name)
		}
		seen[group] = true
	}
	return nil
}

// maxFieldNumber and the reserved range are protobuf's (descriptor.proto).
const maxFieldNumber = 1<<29 - 1

func (c *checker) field(f *Field) error {
	switch {
	case f.Number == 0 || f.Number > maxFieldNumber || f.Number >= 19000 && f.Number <= 19999:
		return fmt.Errorf("number %d is not a field number", f.Number)
	case !isIdent(f.Name):
		return fmt.Errorf("not a name")
	case f.Type < Int32 || f.Type > Nested || f.Card > Repeated:
		return fmt.Errorf("unknown type %d or cardinality %d", f.Type, f.Card)
	case f.Type == Nested && int(f.Message) >= len(c.img.Messages):
		return fmt.Errorf("message %d: there are %d", f.Message, len(c.img.Messages))
	case f.Type == Nested && f.Card == Implicit:
		return fmt.Errorf("a nested message is optional or repeated: its absence is visible")
	case f.Oneof > MaxFields || f.Oneof != 0 && f.Card != Optional:
		return fmt.Errorf("member of oneof %d, but not optional", f.Oneof)
	case f.MinLen > f.MaxLen && f.lengths() || f.MaxRunes != 0 && f.MinRunes > f.MaxRunes || f.Card == Repeated && f.MinItems > f.MaxItems:
		return fmt.Errorf("a lower bound is above the upper one")
	case f.lengths() && f.MaxLen > abi.MaxMessage:
		return fmt.Errorf("may have %d bytes: a message has at most %d", f.MaxLen, abi.MaxMessage)
	case f.Card == Repeated && f.MaxItems > abi.MaxMessage:
		return fmt.Errorf("may have %d elements: a message has at most %d bytes", f.MaxItems, abi.MaxMessage)
	case len(f.Values) > 0 && !f.Type.integer():
		return fmt.Errorf("a set of numbers for what is not an integer or an enum")
	case !ascending(f.Values):
		return fmt.Errorf("the set of numbers is not in order, each once")
	case (len(f.In) > 0 || f.Prefix != "" || f.Suffix != "") && f.Type != String && f.Type != Bytes:
		return fmt.Errorf("a bound on its text, but it is no string or bytes")
	case !ascending(f.In):
		return fmt.Errorf("the set of strings is not in order, each once")
	case f.Class != [2]uint64{} && f.Type != String:
		return fmt.Errorf("a class of characters, but it is no string")
	}
	return f.checkRange()
}

// lengths reports whether MinLen and MaxLen bound f.
func (f *Field) lengths() bool { return f.Type == String || f.Type == Bytes || f.Type == Nested }

func (t Type) integer() bool { return t >= Int32 && t <= Sfixed64 || t == Enum }

// ranges are the values of each type, as HasRange writes them.
var ranges = map[Type]struct {
	signed   bool
	min, max uint64
}{
	Int32: {true, minInt32, math.MaxInt32}, Sint32: {true, minInt32, math.MaxInt32},
	Sfixed32: {true, minInt32, math.MaxInt32}, Enum: {true, minInt32, math.MaxInt32},
	Int64: {true, minInt64, math.MaxInt64}, Sint64: {true, minInt64, math.MaxInt64}, Sfixed64: {true, minInt64, math.MaxInt64},
	Uint32: {false, 0, math.MaxUint32}, Fixed32: {false, 0, math.MaxUint32},
	Uint64: {false, 0, math.MaxUint64}, Fixed64: {false, 0, math.MaxUint64}, Bool: {false, 0, 1},
}

const (
	minInt32 = 0xffffffff_80000000
	minInt64 = 1 << 63
)

func (f *Field) checkRange() error {
	if !f.HasRange {
		return nil
	}
	if f.Type == Float || f.Type == Double {
		low, high := math.Float64frombits(f.Min), math.Float64frombits(f.Max)
		if !(low <= high) {
			return fmt.Errorf("the range %v to %v is empty", low, high)
		}
		return nil
	}
	r, ok := ranges[f.Type]
	if !ok {
		return fmt.Errorf("a range for what is not a number")
	}
	less := func(a, b uint64) bool {
		if r.signed {
			return int64(a) < int64(b)
		}
		return a < b
	}
	if less(f.Max, f.Min) || less(f.Min, r.min) || less(r.max, f.Max) {
		return fmt.Errorf("the range is empty or exceeds its type")
	}
	return nil
}

func ascending[T int64 | string | uint32](s []T) bool {
	for i := 1; i < len(s); i++ {
		if s[i-1] >= s[i] {
			return false
		}
	}
	return true
}
