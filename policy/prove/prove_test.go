package prove

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// small has few messages, so that a test can look at each.
func small() *image.Image {
	ab := [2]uint64{0, 1<<('a'-64) | 1<<('b'-64)}
	return &image.Image{
		Policies: []image.Policy{{ID: "f0", Forbid: true}, {ID: "f1", Forbid: true}, {ID: "p2"}, {ID: "p3"}},
		Groups:   []string{"wheel"},
		Messages: []image.Message{
			{Name: "M", Fields: []image.Field{
				{Number: 1, Name: "x", Type: image.Int32, HasRange: true, Min: ^uint64(0), Max: 2},
				{Number: 2, Name: "y", Type: image.Uint64, HasRange: true, Max: 3, Card: image.Optional},
				{Number: 3, Name: "s", Type: image.String, MaxLen: 2, Class: ab},
				{Number: 4, Name: "e", Type: image.Enum, Values: []int64{0, 1, 7}},
				{Number: 5, Name: "in", Type: image.Nested, Card: image.Optional, Message: 1},
				{Number: 6, Name: "o", Type: image.Bool, Card: image.Optional, Oneof: 1},
				{Number: 7, Name: "q", Type: image.String, Card: image.Optional, Oneof: 1, In: []string{"", "k", "z"}, MaxLen: 9},
			}, Required: []image.Oneof{{Name: "which", Fields: []uint32{5, 6}}}},
			{Name: "N", Fields: []image.Field{{Number: 1, Name: "b", Type: image.Bytes, MinLen: 1, MaxLen: 2}}},
		},
	}
}

// message is one of them.
type message map[string]any

func (m message) Has(p []uint32) bool { _, ok := m[pathKey(p)]; return ok }
func (m message) Long(p []uint32, _ image.What) int64 {
	v, _ := m[pathKey(p)].(int64)
	return v
}
func (m message) Text(p []uint32) string { v, _ := m[pathKey(p)].(string); return v }

// all lists every message of small.
func all() []message {
	list := []message{{}}
	cross := func(path []uint32, absent bool, values ...any) {
		var next []message
		for _, m := range list {
			if absent {
				next = append(next, m)
			}
			for _, v := range values {
				c := message{pathKey(path): v}
				for k, w := range m {
					c[k] = w
				}
				next = append(next, c)
			}
		}
		list = next
	}
	cross([]uint32{1}, false, int64(-1), int64(0), int64(1), int64(2))
	cross([]uint32{2}, true, int64(0), int64(1), int64(2), int64(3))
	cross([]uint32{3}, false, "", "a", "b", "aa", "ab", "ba", "bb")
	cross([]uint32{4}, false, int64(0), int64(1), int64(7))
	plain := list
	cross([]uint32{5}, false, true)
	cross([]uint32{5, 1}, false, int64(1), int64(2))
	list = append(list, plain...)
	both := list
	cross([]uint32{6}, false, int64(0), int64(1))
	one := list
	list = both
	cross([]uint32{7}, false, "", "k", "z")
	return append(list, one...)
}

type generator struct{ *rand.Rand }

func (g generator) number() image.Operand {
	if g.IntN(3) == 0 {
		return image.Operand{Value: image.Value{Long: int64(g.IntN(6) - 2)}}
	}
	return []image.Operand{{What: image.Scalar, Path: []uint32{1}}, {What: image.Scalar, Path: []uint32{2}}, {What: image.Scalar, Path: []uint32{4}},
		{What: image.Size, Path: []uint32{5, 1}}, {What: image.Scalar, Path: []uint32{6}}}[g.IntN(5)]
}

func (g generator) word() image.Value {
	return image.Value{IsString: true, String: []string{"", "a", "b", "ab", "ba", "k", "kz", "c", "aab"}[g.IntN(9)]}
}

func (g generator) expr(depth int) image.Expr {
	if depth > 0 && g.IntN(3) > 0 {
		op := []image.Op{image.And, image.Or, image.Not, image.If}[g.IntN(4)]
		n := map[image.Op]int{image.And: 2, image.Or: 3, image.Not: 1, image.If: 3}[op]
		e := image.Expr{Op: op}
		for range n {
			e.Args = append(e.Args, g.expr(depth-1))
		}
		return e
	}
	text := image.Operand{What: image.Scalar, Path: []uint32{[]uint32{3, 3, 7}[g.IntN(3)]}}
	switch g.IntN(9) {
	case 0:
		return image.Expr{Op: image.Has, Path: [][]uint32{{2}, {5}, {6}, {7}}[g.IntN(4)]}
	case 1:
		return image.Expr{Op: image.Group}
	case 2:
		a, b := g.word(), g.word()
		if a.String == b.String {
			return image.Expr{Op: image.Eq, Left: text, Right: image.Operand{Value: a}}
		}
		if a.String > b.String {
			a, b = b, a
		}
		return image.Expr{Op: image.In, Left: text, Set: []image.Value{a, b}}
	case 3:
		return image.Expr{Op: image.Eq, Left: text, Right: image.Operand{Value: g.word()}}
	case 4:
		return image.Expr{Op: []image.Op{image.Prefix, image.Suffix}[g.IntN(2)], Left: text, Right: image.Operand{Value: g.word()}}
	case 5:
		low := int64(g.IntN(4) - 2)
		return image.Expr{Op: image.In, Left: g.number(), Set: []image.Value{{Long: low}, {Long: low + 1 + int64(g.IntN(3))}}}
	}
	return image.Expr{Op: []image.Op{image.Eq, image.Less, image.LessEq}[g.IntN(3)], Left: g.number(), Right: g.number()}
}

func (g generator) decision() *image.Decision {
	d := &image.Decision{}
	for p := range uint32(4) {
		if g.IntN(4) == 0 {
			continue
		}
		r := image.Rule{Policy: p, When: g.expr(3)}
		if p < 2 {
			d.Forbid = append(d.Forbid, r)
		} else {
			d.Permit = append(d.Permit, r)
		}
	}
	return d
}

// Every answer is compared with what a look at every message says.
func TestAgainstEveryMessage(t *testing.T) {
	img, messages := small(), all()
	g := generator{rand.New(rand.NewPCG(3, 1))}
	counts := map[string]int{}
	for n := range 250 {
		d, given := g.decision(), []image.Expr{g.expr(2)}
		possible := map[image.Verdict]bool{}
		for _, m := range messages {
			for _, member := range []bool{false, true} {
				c := eval.Client{Member: func(uint32) bool { return member }}
				if eval.Holds(&given[0], m, c) {
					v, _ := eval.Decide(d, m, c)
					possible[v] = true
				}
			}
		}
		for _, want := range []image.Verdict{{Policy: abi.NoPolicy}, {Policy: 0}, {Policy: 1}, {Allow: true, Policy: 2}, {Allow: true, Policy: 3}} {
			e, answer := Ask(&Question{Image: img, Message: &img.Messages[0], Given: given, Decisions: []*image.Decision{d},
				Want: func(v image.Verdict) bool { return v == want }})
			counts[fmt.Sprint(answer, possible[want])]++
			switch {
			case answer == Never && possible[want], answer == Found && !possible[want], answer == Found && e.Verdict != want:
				t.Fatalf("%d: verdict %v: answer %d, but possible is %v\ngiven %s\nforbid %+v\npermit %+v", n, want, answer, possible[want],
					eval.Show(img, &img.Messages[0], &given[0]), d.Forbid, d.Permit)
			case answer == Unknown:
				t.Errorf("%d: verdict %v: no answer", n, want)
			}
		}
	}
	if counts["0 false"] < 100 || counts["1 true"] < 100 {
		t.Errorf("the test does not test much: %v", counts)
	}
}
