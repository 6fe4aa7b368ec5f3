package policy

import (
	"math/rand/v2"
	"testing"

	"ward/image"
)

// randomExpr makes a condition over the parameters 1 to 3, the state cell 0 and the user 0.
func randomExpr(r *rand.Rand, depth int) image.Expr {
	arg := func() image.Expr { return randomExpr(r, depth-1) }
	if depth == 0 || r.IntN(4) == 0 {
		left := image.Operand{What: image.Scalar, Path: []uint32{1 + r.Uint32N(3)}}
		switch r.IntN(4) {
		case 0:
			return image.Expr{Op: image.User}
		case 1:
			left = image.Operand{What: image.CellValue}
		}
		return image.Expr{Op: image.Eq, Left: left, Right: image.Operand{Value: image.Value{Long: 1}}}
	}
	switch r.IntN(4) {
	case 0:
		return image.Expr{Op: image.Not, Args: []image.Expr{arg()}}
	case 1:
		return image.Expr{Op: image.And, Args: []image.Expr{arg(), arg()}}
	case 2:
		return image.Expr{Op: image.Or, Args: []image.Expr{arg(), arg()}}
	}
	return image.Expr{Op: image.If, Args: []image.Expr{arg(), arg(), arg()}}
}

// holds evaluates e: bit 0 of v is the user, bit 1 the state, bits 2 to 4 the parameters.
func holds(e *image.Expr, v int) bool {
	switch e.Op {
	case image.True, image.False:
		return e.Op == image.True
	case image.User:
		return v&1 != 0
	case image.Not:
		return !holds(&e.Args[0], v)
	case image.And:
		for i := range e.Args {
			if !holds(&e.Args[i], v) {
				return false
			}
		}
		return true
	case image.Or:
		for i := range e.Args {
			if holds(&e.Args[i], v) {
				return true
			}
		}
		return false
	case image.If:
		if holds(&e.Args[0], v) {
			return holds(&e.Args[1], v)
		}
		return holds(&e.Args[2], v)
	}
	if e.Left.What == image.CellValue {
		return v&2 != 0
	}
	return v>>(1+e.Left.Path[0])&1 != 0
}

// What is spared holds whenever the condition does and looks at no parameter; a
// condition without parameters stays as it is.
func TestSpare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		e := randomExpr(r, 4)
		left := spare(&e, true)
		if asks(&left) {
			t.Fatalf("a parameter is left: %+v of %+v", left, e)
		}
		for v := range 32 {
			if holds(&e, v) && !holds(&left, v) {
				t.Fatalf("%+v holds for %b, what is spared of it does not: %+v", e, v, left)
			}
		}
		if asks(&e) {
			continue
		}
		for v := range 4 {
			if holds(&e, v) != holds(&left, v) {
				t.Fatalf("without parameters %+v became %+v", e, left)
			}
		}
	}
	// Conditions on state and users stay, whatever stands beside them.
	state := image.Expr{Op: image.Eq, Left: image.Operand{What: image.CellValue}, Right: image.Operand{Value: image.Value{Long: 1}}}
	width := image.Expr{Op: image.LessEq, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: 9}}}
	both := all(state, width, image.Expr{Op: image.User})
	if left := spare(&both, true); holds(&left, 1) || holds(&left, 2) || !holds(&left, 3) {
		t.Errorf("%+v", left)
	}
}
