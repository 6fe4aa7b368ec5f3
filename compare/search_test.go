package compare

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ward/image"
	"ward/policy/eval"
)

// The search is compared with brute force: random pairs of decisions over a
// message small enough that all its values can be tried.

var words4 = []string{"", "a", "ab", "ba", "b", "aa", "aba", "bab"}

func smallImage() *image.Image {
	return &image.Image{Name: "s", Policies: []image.Policy{{ID: "permit"}, {ID: "forbid", Forbid: true}}, Users: []string{"eve"},
		Messages: []image.Message{
			{Name: "t.M", Required: []image.Oneof{{Name: "one", Fields: []uint32{4, 5}}}, Fields: []image.Field{
				{Number: 1, Name: "n", Type: image.Int32, HasRange: true, Max: 6},
				{Number: 2, Name: "m", Type: image.Int32, HasRange: true, Max: 6, Card: image.Optional},
				{Number: 3, Name: "s", Type: image.String, In: []string{"", "a", "aa", "ab", "aba", "b", "ba", "bab"}, MaxLen: 8},
				{Number: 4, Name: "in", Type: image.Nested, Card: image.Optional, Message: 1, MaxLen: 64},
				{Number: 5, Name: "x", Type: image.Bool, Card: image.Optional, Oneof: 1},
				{Number: 6, Name: "y", Type: image.Bool, Card: image.Optional, Oneof: 1}}},
			{Name: "t.In", Fields: []image.Field{{Number: 1, Name: "k", Type: image.Int32, HasRange: true, Max: 3}}},
		}}
}

// A sample is one message.
type sample map[string]any

func (m sample) Has(p []uint32) bool { return m[pathKey(p)] != nil }
func (m sample) Long(p []uint32, _ image.What) int64 {
	n, _ := m[pathKey(p)].(int64)
	return n
}
func (m sample) Text(p []uint32) string {
	s, _ := m[pathKey(p)].(string)
	return s
}

func samples() (all []sample) {
	none := int64(-1)
	for n := range int64(7) {
		for m := none; m < 7; m++ {
			for _, s := range words4 {
				for k := none; k < 4; k++ {
					for _, xy := range [][2]int64{{none, 0}, {none, 1}, {0, none}, {1, none}} {
						v := sample{pathKey([]uint32{1}): n, pathKey([]uint32{3}): s}
						set := func(n int64, p ...uint32) {
							if n != none {
								v[pathKey(p)] = n
							}
						}
						set(m, 2)
						if k != none {
							v[pathKey([]uint32{4})] = true
						}
						set(k, 4, 1)
						set(xy[0], 5)
						set(xy[1], 6)
						all = append(all, v)
					}
				}
			}
		}
	}
	return all
}

func randomExpr(r *rand.Rand, depth int) image.Expr {
	number := func() image.Operand {
		return image.Operand{What: image.Scalar, Path: [][]uint32{{1}, {2}, {4, 1}, {5}, {6}}[r.IntN(5)]}
	}
	constant := func() image.Operand { return image.Operand{Value: image.Value{Long: int64(r.IntN(9)) - 1}} }
	text := image.Operand{What: image.Scalar, Path: []uint32{3}}
	word := func() image.Operand {
		return image.Operand{Value: image.Value{IsString: true, String: words4[r.IntN(len(words4))]}}
	}
	if depth > 0 && r.IntN(3) > 0 {
		op := []image.Op{image.And, image.Or, image.Not, image.If}[r.IntN(4)]
		e := image.Expr{Op: op}
		for range map[image.Op]int{image.And: 2, image.Or: 2, image.Not: 1, image.If: 3}[op] {
			e.Args = append(e.Args, randomExpr(r, depth-1))
		}
		return e
	}
	compares := []image.Op{image.Eq, image.Less, image.LessEq}
	switch r.IntN(6) {
	case 0:
		return image.Expr{Op: image.Has, Path: [][]uint32{{2}, {4}, {5}, {6}}[r.IntN(4)]}
	case 1:
		return image.Expr{Op: []image.Op{image.Eq, image.Prefix, image.Suffix}[r.IntN(3)], Left: text, Right: word()}
	case 2:
		return image.Expr{Op: compares[r.IntN(3)], Left: number(), Right: number()}
	case 3:
		low := int64(r.IntN(5))
		return image.Expr{Op: image.In, Left: number(), Set: []image.Value{{Long: low}, {Long: low + 2}}}
	case 4:
		return image.Expr{Op: compares[r.IntN(3)], Left: constant(), Right: number()}
	}
	return image.Expr{Op: compares[r.IntN(3)], Left: number(), Right: constant()}
}

func randomDecision(r *rand.Rand) *image.Decision {
	d := &image.Decision{Permit: []image.Rule{{Policy: 0, When: randomExpr(r, 3)}}}
	if r.IntN(2) == 0 {
		d.Forbid = []image.Rule{{Policy: 1, When: randomExpr(r, 2)}}
	}
	return d
}

// fits reports whether a message is like an example.
func fits(args map[string]any, m sample, fields map[string][]uint32, prefix string) bool {
	for name, want := range args {
		p := fields[prefix+name]
		switch want := want.(type) {
		case nil:
			if m.Has(p) {
				return false
			}
		case map[string]any:
			if !m.Has(p) || !fits(want, m, fields, prefix+name+".") {
				return false
			}
		case bool:
			if n, ok := m[pathKey(p)].(int64); !ok || (n != 0) != want {
				return false
			}
		default:
			if m[pathKey(p)] != want {
				return false
			}
		}
	}
	return true
}

func TestSearchAgainstBruteForce(t *testing.T) {
	x, all := newIndex(smallImage()), samples()
	fields := map[string][]uint32{"n": {1}, "m": {2}, "s": {3}, "in": {4}, "in.k": {4, 1}, "x": {5}, "y": {6}}
	r := rand.New(rand.NewPCG(1, 2))
	flips, proved := 0, 0
	for round := range 400 {
		a, b := randomDecision(r), randomDecision(r)
		if round%4 == 0 { // the same, written otherwise
			b = &image.Decision{Forbid: a.Forbid, Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.Not, Args: []image.Expr{{Op: image.Not, Args: []image.Expr{a.Permit[0].When}}}}}}}
		}
		s, reason := newSearcher(pair{side{x, a, &x.Messages[0]}, side{x, b, &x.Messages[0]}})
		if reason != "" {
			t.Fatal(reason)
		}
		s.budget = oneSearch
		s.walk(0)
		var want [2]bool
		for _, m := range all {
			o, _ := eval.Decide(a, m, eval.Client{})
			n, _ := eval.Decide(b, m, eval.Client{})
			for dir, f := range s.found {
				if f != nil && fits(f.args, m, fields, "") && (o.Allow != (dir == 0) || n.Allow != (dir == 1)) {
					t.Fatalf("round %d: example %v to %v does not flip for %v", round, f.args, dir == 1, m)
				}
			}
			if o.Allow != n.Allow {
				want[map[bool]int{true: 1}[n.Allow]] = true
			}
		}
		for dir := range want {
			if got := s.found[dir] != nil; got != want[dir] || s.open[dir] {
				t.Fatalf("round %d, to allow %v: found %v, open %v; brute force says %v", round, dir == 1, got, s.open[dir], want[dir])
			}
			if want[dir] {
				flips++
				some := func(m sample) bool { return fits(s.found[dir].args, m, fields, "") }
				if !slices.ContainsFunc(all, some) {
					t.Fatalf("round %d: no message is like the example %v", round, s.found[dir].args)
				}
			} else {
				proved++
			}
		}
	}
	if flips < 50 || proved < 50 {
		t.Errorf("%d flips and %d without: the test compares too little", flips, proved)
	}
}

// What cannot be tried to the end is open, never "no flip".
func TestBudget(t *testing.T) {
	x := newIndex(smallImage())
	r := rand.New(rand.NewPCG(3, 4))
	s, _ := newSearcher(pair{side{x, randomDecision(r), &x.Messages[0]}, side{x, randomDecision(r), &x.Messages[0]}})
	s.walk(0) // without a budget
	if s.open != [2]bool{true, true} {
		t.Errorf("open %v without a budget", s.open)
	}
}

func text(op image.Op, s string) image.Expr {
	return image.Expr{Op: op, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{IsString: true, String: s}}}
}

func TestTexts(t *testing.T) {
	lower := [2]uint64{0, 0x07fffffe_00000000}
	for name, c := range map[string]struct {
		field    image.Field
		old, new image.Expr
		change   string
		want     any
	}{
		"prefix dropped":    {image.Field{MaxLen: 64}, text(image.Prefix, "draft-"), image.Expr{Op: image.True}, Allowed, ""},
		"prefix shorter":    {image.Field{MaxLen: 64}, text(image.Prefix, "draft-"), text(image.Prefix, "draft"), Allowed, "draft"},
		"class":             {image.Field{MaxLen: 64, Class: lower}, text(image.Prefix, "a"), image.Expr{Op: image.True}, Allowed, nil},
		"suffix":            {image.Field{MaxLen: 64}, text(image.Suffix, ".pem"), text(image.Suffix, "pem"), Allowed, "pem"},
		"not within bounds": {image.Field{MaxLen: 3}, text(image.Eq, "abc"), image.Expr{Op: image.Or, Args: []image.Expr{text(image.Eq, "abc"), text(image.Eq, "abcd")}}, "", nil},
		"bound is narrower": {image.Field{MaxLen: 64, Prefix: "/etc/"}, text(image.Prefix, "/etc/"), image.Expr{Op: image.True}, "", nil},
		"cannot be made up": {image.Field{MinLen: 1, MaxLen: 1, Class: [2]uint64{0, 1}}, text(image.Eq, "@"), image.Expr{Op: image.True}, Open, nil},
		"one more constant": {image.Field{MaxLen: 64}, text(image.Eq, "www"), image.Expr{Op: image.Or, Args: []image.Expr{text(image.Eq, "www"), text(image.Eq, "api")}}, Allowed, "api"},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.field
			f.Number, f.Name, f.Type = 1, "s", image.String
			x := newIndex(&image.Image{Messages: []image.Message{{Name: "t.M", Fields: []image.Field{f}}}, Policies: []image.Policy{{ID: "p"}}})
			decide := func(e image.Expr) side {
				return side{x, &image.Decision{Permit: []image.Rule{{When: e}}}, &x.Messages[0]}
			}
			cmp := &comparer{old: x, new: x, report: new(Report), budget: allSearches}
			cmp.decisions(pair{decide(c.old), decide(c.new)}, Change{Event: "call"})
			switch got := cmp.report.Changes; {
			case c.change == "" && len(got) != 0:
				t.Errorf("%+v", got)
			case c.change != "" && (len(got) != 1 || got[0].Change != c.change || !got[0].NewAccess || c.want != nil && got[0].Args["s"] != c.want):
				t.Errorf("%+v, want %s %v", got, c.change, c.want)
			}
		})
	}
}
