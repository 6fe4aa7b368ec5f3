package image

import (
	"strings"
	"testing"

	"ward/abi"
)

// TestAttackSets: constants that differ in an image and are one in the tables
// of a filter, and numbers that no constant is, are refused.
func TestAttackSets(t *testing.T) {
	text := func(s string, n int64) Value { return Value{IsString: true, String: s, Long: n} }
	one := func(f Field, op Op, set ...Value) *Image {
		what := Elements
		if f.Card != Repeated {
			what = Scalar
		}
		when := Expr{Op: op, Left: Operand{What: what, Path: []uint32{1}}, Set: set}
		return &Image{Name: "s", Messages: []Message{{Name: "M", Fields: []Field{f}}}, Policies: []Policy{{ID: "p"}},
			Interfaces: []Interface{{Name: "a.A", Methods: []Method{{Name: "Do"}}}},
			Domains: []Domain{{Name: "s", Ring: Ring{0, "r"}, Start: Verdict{Allow: true}, Exports: []Export{{Publish: Verdict{Allow: true}}}},
				{Name: "c", Ring: Ring{0, "r"}, Start: Verdict{Allow: true}}},
			Routes: []Route{{Client: 1, Connect: Verdict{Allow: true}, Lookup: Verdict{Policy: abi.NoPolicy},
				Methods: []MethodPolicy{{Request: Decision{Permit: []Rule{{When: when}}}}}}}}
	}
	texts := Field{Number: 1, Name: "f", Type: String, Card: Repeated, MaxLen: 9, MaxItems: 9}
	numbers := Field{Number: 1, Name: "f", Type: Uint64, Card: Repeated, MaxItems: 9, HasRange: true, Max: 1<<63 - 1}
	wide := numbers
	wide.Max = 1<<64 - 1
	like := texts
	like.Card = Implicit
	for _, test := range []struct {
		what string
		img  *Image
		ok   bool
	}{
		{"control: texts", one(texts, AnyIn, text("a", 0), text("b", 0)), true},
		{"a text with a number", one(texts, AnyIn, text("a", 1)), false},
		{"a number with a text", one(numbers, AnyOut, Value{Long: 1, String: "x"}), false},
		{"control: numbers", one(numbers, AnyOut, Value{Long: -1}), true},
		{"numbers that may be 2^64-1", one(wide, AnyOut, Value{Long: -1}), false},
		{"control: a pattern", one(like, Like, text("a", 0), text("b", 0), text("", 0)), true},
		{"a pattern with a number", one(like, Like, text("a", 0), text("b", 7), text("", 0)), false},
	} {
		err := test.img.Check()
		if test.ok && err != nil || !test.ok && (err == nil || !strings.Contains(err.Error(), "request of Do")) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}
