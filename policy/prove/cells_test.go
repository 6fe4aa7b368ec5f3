package prove

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// held is a state: a value for each cell.
type held []uint32

func (h held) Cell(cell uint32) uint32 { return h[cell] }

// cellExpr writes a condition on three cells.
func (g generator) cellExpr(depth int) image.Expr {
	if depth > 0 && g.IntN(3) > 0 {
		op := []image.Op{image.And, image.Or, image.Not, image.If}[g.IntN(4)]
		e := image.Expr{Op: op}
		for range map[image.Op]int{image.And: 2, image.Or: 3, image.Not: 1, image.If: 3}[op] {
			e.Args = append(e.Args, g.cellExpr(depth-1))
		}
		return e
	}
	cell := func() image.Operand { return image.Operand{What: image.CellValue, Cell: uint32(g.IntN(3))} }
	constant := func() image.Operand { return image.Operand{Value: image.Value{Long: int64(g.IntN(5))}} }
	switch g.IntN(4) {
	case 0:
		return image.Expr{Op: image.In, Left: cell(), Set: []image.Value{{Long: int64(g.IntN(2))}, {Long: 2 + int64(g.IntN(3))}}}
	case 1:
		return image.Expr{Op: image.Eq, Left: cell(), Right: cell()}
	case 2:
		return image.Expr{Op: image.Group}
	}
	return image.Expr{Op: image.Eq, Left: cell(), Right: constant()}
}

// TestAgainstEveryState compares answers with a look at every state that
// declared moves lead to, or that the question says.
func TestAgainstEveryState(t *testing.T) {
	img := small()
	img.States = []image.State{
		{Name: "a", Per: image.PerSystem, Values: []string{"0", "1", "2", "3", "4"}, Initial: 1, Moves: []image.Move{{From: 0, To: 2}, {From: 1, To: 3}, {From: 3, To: 4}}},
		{Name: "b", Per: image.PerSystem, Values: []string{"0", "1", "2"}, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 2}}},
		{Name: "c", Per: image.PerSystem, Values: []string{"0", "1", "2", "3"}, Initial: 3},
	}
	for i := range img.States {
		img.Cells = append(img.Cells, image.Cell{State: uint32(i), Domain: abi.NoDomain, Shift: uint8(4 * i), Bits: 4})
	}
	if got := Reachable(&img.States[0]); !slices.Equal(got, []uint32{1, 3, 4}) {
		t.Fatalf("reachable: %v", got)
	}
	g := generator{rand.New(rand.NewPCG(5, 9))}
	found, never := 0, 0
	for n := range 2000 {
		d := &image.Decision{}
		for p := range uint32(4) {
			r := image.Rule{Policy: p, When: g.cellExpr(2)}
			if p < 2 {
				d.Forbid = append(d.Forbid, r)
			} else {
				d.Permit = append(d.Permit, r)
			}
		}
		given := []image.Expr{g.cellExpr(1)}
		q := Question{Image: img, Given: given, Decisions: []*image.Decision{d}}
		values := [][]uint32{{1, 3, 4}, {0, 1, 2}, {3}}
		if n%2 == 0 {
			values[0], values[2] = []uint32{0, 2}, []uint32{1, 2}
			q.Cells = map[uint32][]uint32{0: {2, 0}, 2: {1, 2}}
		}
		possible := map[image.Verdict]bool{}
		for _, a := range values[0] {
			for _, b := range values[1] {
				for _, c := range values[2] {
					for _, member := range []bool{false, true} {
						args, client := eval.WithState(message{}, held{a, b, c}), eval.Client{Member: func(uint32) bool { return member }}
						if eval.Holds(&given[0], args, client) {
							v, _ := eval.Decide(d, args, client)
							possible[v] = true
						}
					}
				}
			}
		}
		for _, want := range []image.Verdict{{Policy: abi.NoPolicy}, {Policy: 0}, {Policy: 1}, {Allow: true, Policy: 2}, {Allow: true, Policy: 3}} {
			q.Want = func(v image.Verdict) bool { return v == want }
			e, answer := Ask(&q)
			switch {
			case answer == Found && possible[want] && e.Verdict == want:
				found++
				for _, c := range e.Cells {
					if !slices.Contains(values[c.Cell], c.Value) {
						t.Fatalf("%d: an example in a state that cannot be: %+v", n, e.Cells)
					}
				}
			case answer == Never && !possible[want]:
				never++
			default:
				t.Fatalf("%d: verdict %v: answer %d, but possible is %v; given %s, %+v", n, want, answer, possible[want], eval.Show(img, nil, &given[0]), d)
			}
		}
	}
	if found < 500 || never < 500 {
		t.Errorf("the test does not test much: %d found, %d never", found, never)
	}
}
