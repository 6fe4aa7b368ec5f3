package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"ward/image"
)

// streaming reports a method whose way of calling changed.
func (c *comparer) streaming(x Change, o, n *image.Method) {
	if o.ClientStream != n.ClientStream || o.ServerStream != n.ServerStream {
		c.add(Change{Event: "bounds", Change: Changed, NewAccess: true, Method: x.Method, Detail: "streams otherwise than before"})
	}
}

// bounds compares two messages field by field, once for each pair. what is the
// path to the message; via a method that carries it.
func (c *comparer) bounds(what string, o, n uint32, via string) {
	om, nm := &c.old.Messages[o], &c.new.Messages[n]
	key := [2]string{om.Name, nm.Name}
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	report := func(field string, notes []string, wider bool) {
		if len(notes) > 0 {
			c.add(Change{Event: "bounds", Change: Changed, NewAccess: wider, Method: via, Object: nm.Name + "." + field, Detail: strings.Join(notes, "; ")})
		}
	}
	if om.Name != nm.Name {
		c.add(Change{Event: "bounds", Change: Changed, Method: via, Object: what, Detail: "is now " + nm.Name})
	}
	for i := range om.Fields {
		f := &om.Fields[i]
		if fieldOf(nm, f.Number) == nil {
			report(f.Name, []string{"field removed"}, f.Required || f.Card == image.Repeated && f.MinItems > 0)
		}
	}
	for i := range nm.Fields {
		f := &nm.Fields[i]
		before := fieldOf(om, f.Number)
		if before == nil {
			report(f.Name, []string{"field added"}, true)
			continue
		}
		notes, wider := fieldBounds(before, f)
		report(f.Name, notes, wider)
		if f.Type == image.Nested && before.Type == image.Nested {
			c.bounds(what+"."+f.Name, before.Message, f.Message, via)
		}
	}
	for _, r := range om.Required {
		if !slices.ContainsFunc(nm.Required, func(s image.Oneof) bool { return sameMembers(om, nm, r, s) }) {
			report(r.Name, []string{"the oneof is no longer required as it was"}, true)
		}
	}
}

func sameMembers(om, nm *image.Message, a, b image.Oneof) bool {
	return slices.EqualFunc(a.Fields, b.Fields, func(i, j uint32) bool { return om.Fields[i].Number == nm.Fields[j].Number })
}

func fieldOf(m *image.Message, number uint32) *image.Field {
	for i := range m.Fields {
		if m.Fields[i].Number == number {
			return &m.Fields[i]
		}
	}
	return nil
}

// fieldBounds says what changed of the bounds of a field, and whether a value
// may be within the new ones that was not within the old.
func fieldBounds(o, n *image.Field) (notes []string, wider bool) {
	note := func(more bool, format string, args ...any) {
		notes, wider = append(notes, fmt.Sprintf(format, args...)), wider || more
	}
	if o.Type != n.Type || o.Card != n.Card || o.Oneof != n.Oneof {
		note(true, "type, cardinality or oneof changed")
		return notes, wider
	}
	if o.Name != n.Name {
		note(false, "was called %s", o.Name)
	}
	if o.Required != n.Required {
		note(o.Required, "required %v → %v", o.Required, n.Required)
	}
	if o.HasRange != n.HasRange || o.HasRange && (o.Min != n.Min || o.Max != n.Max) {
		note(!rangeWithin(n, o), "%s → %s", rangeText(o), rangeText(n))
	}
	number := func(what string, o, n uint32, upper bool) {
		if o != n {
			note(upper == (n > o), "%s %d → %d", what, o, n)
		}
	}
	unbounded := func(v uint32) uint32 {
		if v == 0 {
			return math.MaxUint32
		}
		return v
	}
	number("min bytes", o.MinLen, n.MinLen, false)
	number("max bytes", o.MaxLen, n.MaxLen, true)
	number("min characters", o.MinRunes, n.MinRunes, false)
	number("max characters", unbounded(o.MaxRunes), unbounded(n.MaxRunes), true)
	number("min items", o.MinItems, n.MinItems, false)
	number("max items", o.MaxItems, n.MaxItems, true)
	if !slices.Equal(o.Values, n.Values) {
		note(!subset(n.Values, o.Values), "set of numbers %s → %s", setText(o.Values), setText(n.Values))
	}
	if !slices.Equal(o.In, n.In) {
		note(!subset(n.In, o.In), "set of values %s → %s", setText(o.In), setText(n.In))
	}
	if o.Prefix != n.Prefix {
		note(!strings.HasPrefix(n.Prefix, o.Prefix), "prefix %q → %q", o.Prefix, n.Prefix)
	}
	if o.Suffix != n.Suffix {
		note(!strings.HasSuffix(n.Suffix, o.Suffix), "suffix %q → %q", o.Suffix, n.Suffix)
	}
	if o.Class != n.Class {
		within := n.Class != [2]uint64{} && (o.Class == [2]uint64{} || n.Class[0]&^o.Class[0]|n.Class[1]&^o.Class[1] == 0)
		note(!within, "other characters")
	}
	return notes, wider
}

// subset: an empty set is no bound.
func subset[T comparable](a, b []T) bool {
	if len(b) == 0 {
		return true
	}
	has := map[T]bool{}
	for _, v := range b {
		has[v] = true
	}
	return len(a) > 0 && !slices.ContainsFunc(a, func(v T) bool { return !has[v] })
}

func setText[T any](s []T) string {
	switch {
	case len(s) == 0:
		return "any"
	case len(s) > 8:
		return fmt.Sprintf("%d values", len(s))
	}
	if words, ok := any(s).([]string); ok {
		return fmt.Sprintf("%q", words)
	}
	return fmt.Sprint(s)
}

func unsigned(t image.Type) bool {
	switch t {
	case image.Uint32, image.Uint64, image.Fixed32, image.Fixed64, image.Bool:
		return true
	}
	return false
}

// rangeWithin reports whether the range of a is within that of b, which has the same type.
func rangeWithin(a, b *image.Field) bool {
	switch {
	case !b.HasRange:
		return true
	case !a.HasRange:
		return false
	case a.Type == image.Float || a.Type == image.Double:
		return math.Float64frombits(a.Min) >= math.Float64frombits(b.Min) && math.Float64frombits(a.Max) <= math.Float64frombits(b.Max)
	case unsigned(a.Type):
		return a.Min >= b.Min && a.Max <= b.Max
	}
	return int64(a.Min) >= int64(b.Min) && int64(a.Max) <= int64(b.Max)
}

func rangeText(f *image.Field) string {
	switch {
	case !f.HasRange:
		return "any value"
	case f.Type == image.Float || f.Type == image.Double:
		return fmt.Sprintf("%v to %v", math.Float64frombits(f.Min), math.Float64frombits(f.Max))
	case unsigned(f.Type):
		return fmt.Sprintf("%d to %d", f.Min, f.Max)
	}
	return fmt.Sprintf("%d to %d", int64(f.Min), int64(f.Max))
}
