package policy

import (
	"cmp"
	"slices"

	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// The elements of repeated parameters, and patterns with text in the middle:
// what the filter answers while it reads a value.

// elementsFix is what can be asked of elements.
const elementsFix = `ask of the elements by constants: context.x.values.contains("a"), .containsAny(["a", "b"]), ["a", "b"].containsAll(context.x.values) for "every element is one of", .isEmpty()`

// isElements reports whether e is the elements of a repeated parameter.
func (k *checker) isElements(e *syntax.Expr) bool {
	return k.symbolic(e) && e.Op == syntax.Access && e.Name == "values"
}

// ofElements checks a method, or a comparison, of which an operand is the
// elements of a repeated parameter; elem is their type.
func (k *checker) ofElements(e *syntax.Expr, elem *typ) *typ {
	switch elem.kind {
	case record, set:
		return k.outside(e, "state the rule for each element in the interface (repeated.items, or the rules of the message), or decide on .count",
			"elements that are "+recordsOf(elem))
	}
	for _, a := range e.Args {
		if !k.isElements(a) && !k.constant(a) {
			return k.outside(e, elementsFix, "elements compared with a parameter")
		}
	}
	if len(e.Args) > 1 && k.isElements(e.Args[0]) && k.isElements(e.Args[1]) {
		return k.outside(e, elementsFix, "elements of two parameters compared with each other")
	}
	return boolType
}

// elementFix is what to do where the elements of a set are of another type.
func elementFix(elem *typ) string {
	if elem.kind == record {
		return "state the rule for each element in the interface (repeated.items, or the rules of the message), or decide on .count"
	}
	return "its elements are of type " + elem.String() + ": write one"
}

func recordsOf(elem *typ) string {
	if elem.kind == record && elem.rec.attrs["size"] != nil && len(elem.rec.attrs) == 1 {
		return "bytes"
	}
	return "messages"
}

// pattern checks a pattern for a String parameter.
func (k *checker) pattern(e *syntax.Expr) *typ {
	x := gaps(e.Pattern)
	if x.Scanned() && x.PatternSize() > image.MaxPattern {
		return k.outside(e, `compare long texts at the ends: context.x like "text*" && context.x like "*text", and shorten what may stand anywhere`,
			"a pattern with text in the middle and of more than 63 bytes")
	}
	return boolType
}

// gaps is the test of a pattern that has a star: the texts before, between and
// after its stars.
func gaps(p []syntax.Piece) image.Expr {
	e := image.Expr{Op: image.Like}
	text := ""
	for _, piece := range p {
		if !piece.Wild {
			text += piece.Text
			continue
		}
		e.Set = append(e.Set, image.Value{IsString: true, String: text})
		text = ""
	}
	e.Set = append(e.Set, image.Value{IsString: true, String: text})
	return e
}

// elementsMethod folds a method of which one operand is the elements of a
// repeated parameter, and the other constant.
func (f *folder) elementsMethod(e *syntax.Expr, l, r value) image.Expr {
	if r.branch != nil {
		return choose(r.branch.cond, f.elementsMethod(e, l, r.branch.then), f.elementsMethod(e, l, r.branch.els))
	}
	switch {
	case e.Name == "contains" && l.elements != nil && r.constant != nil:
		return f.someIn(l, []cedar.Value{r.constant})
	case e.Name == "containsAny" && l.elements != nil:
		return f.someIn(l, f.constantSet(r, e))
	case e.Name == "containsAny":
		return f.someIn(r, f.constantSet(l, e))
	case e.Name == "containsAll" && l.elements != nil:
		return f.holdsAll(l, f.constantSet(r, e))
	case e.Name == "containsAll":
		return f.onlyOf(r, f.constantSet(l, e))
	}
	panic(f.undecidable(e))
}

// constantSet lists the members of a constant set.
func (f *folder) constantSet(v value, e *syntax.Expr) []cedar.Value {
	var res []cedar.Value
	for _, x := range f.items(v, e) {
		if x.constant == nil {
			panic(f.undecidable(e))
		}
		res = append(res, x.constant)
	}
	return res
}

// someIn is the test that some element of v is in s.
func (f *folder) someIn(v value, s []cedar.Value) image.Expr {
	set := f.members(v, s)
	if len(set) == 0 {
		return constExpr(false)
	}
	return image.Expr{Op: image.AnyIn, Left: elementsOf(v), Set: set}
}

// onlyOf is the test that each element of v is in s.
func (f *folder) onlyOf(v value, s []cedar.Value) image.Expr {
	set := f.members(v, s)
	if len(set) == 0 {
		return noElements(v)
	}
	return not(image.Expr{Op: image.AnyOut, Left: elementsOf(v), Set: set})
}

// holdsAll is the test that all of s are elements of v.
func (f *folder) holdsAll(v value, s []cedar.Value) image.Expr {
	var each []image.Expr
	for _, c := range s {
		each = append(each, f.someIn(v, []cedar.Value{c}))
	}
	return all(each...)
}

func noElements(v value) image.Expr {
	return image.Expr{Op: image.Eq, Left: image.Operand{What: image.Count, Path: v.elements}, Right: image.Operand{Value: image.Value{}}}
}

func elementsOf(v value) image.Operand { return image.Operand{What: image.Elements, Path: v.elements} }

// members are the constants of a set as elements of v are compared with them.
// What no element can be is left out.
func (f *folder) members(v value, s []cedar.Value) []image.Value {
	names := v.typ.elem.names
	var res []image.Value
	for _, c := range s {
		if names != nil && names.numbers != nil {
			if name, ok := c.(cedar.String); ok && names.has(string(name)) {
				res = append(res, image.Value{Long: names.numbers[string(name)]})
			}
			continue
		}
		if x, ok := constantOf(c); ok {
			res = append(res, x)
		}
	}
	slices.SortFunc(res, compareValues)
	return slices.Compact(res)
}

// compareValues orders constants as sets of the image have them.
func compareValues(a, b image.Value) int {
	return cmp.Or(cmp.Compare(a.Long, b.Long), cmp.Compare(a.String, b.String))
}
