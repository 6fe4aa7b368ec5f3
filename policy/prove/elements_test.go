package prove_test

import (
	"slices"
	"testing"

	"ward/image"
	"ward/policy/eval"
	"ward/policy/prove"
)

// TestElements asks about the elements of repeated parameters and about
// patterns with gaps: what is found holds, what cannot be is proven.
func TestElements(t *testing.T) {
	m := image.Message{Name: "M", Fields: []image.Field{
		{Number: 1, Name: "tags", Type: image.String, Card: image.Repeated, MaxLen: 8, MaxItems: 4},
		{Number: 2, Name: "codes", Type: image.Int32, Card: image.Repeated, MaxItems: 2, HasRange: true, Min: 1, Max: 3},
		{Number: 3, Name: "name", Type: image.String, MaxLen: 12},
	}}
	texts := func(s ...string) (set []image.Value) {
		slices.Sort(s)
		for _, v := range s {
			set = append(set, image.Value{IsString: true, String: v})
		}
		return set
	}
	numbers := func(n ...int64) (set []image.Value) {
		for _, v := range n {
			set = append(set, image.Value{Long: v})
		}
		return set
	}
	some := func(field uint32, set []image.Value) image.Expr {
		return image.Expr{Op: image.AnyIn, Left: image.Operand{What: image.Elements, Path: []uint32{field}}, Set: set}
	}
	only := func(field uint32, set []image.Value) image.Expr {
		return not(image.Expr{Op: image.AnyOut, Left: image.Operand{What: image.Elements, Path: []uint32{field}}, Set: set})
	}
	count := func(field uint32, n int64) image.Expr {
		return image.Expr{Op: image.Eq, Left: image.Operand{What: image.Count, Path: []uint32{field}}, Right: image.Operand{Value: image.Value{Long: n}}}
	}
	like := func(parts ...string) image.Expr {
		e := image.Expr{Op: image.Like, Left: image.Operand{What: image.Scalar, Path: []uint32{3}}}
		for _, p := range parts {
			e.Set = append(e.Set, image.Value{IsString: true, String: p})
		}
		return e
	}
	for name, c := range map[string]struct {
		given []image.Expr
		want  prove.Answer
	}{
		"one":                      {[]image.Expr{some(1, texts("a"))}, prove.Found},
		"only, and one of others":  {[]image.Expr{only(1, texts("a", "b")), some(1, texts("c"))}, prove.Never},
		"only, and two":            {[]image.Expr{only(1, texts("a", "b")), some(1, texts("a")), some(1, texts("b"))}, prove.Found},
		"none at all":              {[]image.Expr{count(1, 0), some(1, texts("a"))}, prove.Never},
		"only, and none":           {[]image.Expr{only(1, texts("a")), not(some(1, texts("a"))), not(count(1, 0))}, prove.Never},
		"something else":           {[]image.Expr{not(only(1, texts("a", "b"))), not(some(1, texts("c")))}, prove.Found},
		"all numbers are excluded": {[]image.Expr{not(some(2, numbers(1, 2, 3))), not(count(2, 0))}, prove.Never},
		"a number out of bounds":   {[]image.Expr{some(2, numbers(7))}, prove.Never},
		"only what cannot be":      {[]image.Expr{only(2, numbers(0, 100))}, prove.Found}, // there is none
		"… and not none":           {[]image.Expr{only(2, numbers(0, 100)), not(count(2, 0))}, prove.Never},
		"a gap":                    {[]image.Expr{like("a", "b")}, prove.Found},
		"a gap, and not the other": {[]image.Expr{like("", "x", ""), not(like("", "xy", ""))}, prove.Found},
		"a gap, and not":           {[]image.Expr{like("", "x", ""), not(like("", "x", ""))}, prove.Never},
	} {
		t.Run(name, func(t *testing.T) {
			img := &image.Image{Messages: []image.Message{m}}
			e, got := prove.Ask(&prove.Question{Image: img, Message: &m, Given: c.given, Want: func(image.Verdict) bool { return true }})
			if got != c.want {
				t.Fatalf("answer %d, want %d", got, c.want)
			}
			for i := range c.given {
				if got == prove.Found && !eval.Holds(&c.given[i], &e, eval.Client{}) {
					t.Errorf("the example %+v does not satisfy %s", e, eval.Show(img, &m, &c.given[i]))
				}
			}
		})
	}
}

func not(e image.Expr) image.Expr { return image.Expr{Op: image.Not, Args: []image.Expr{e}} }
