package policy

import (
	"cmp"
	"slices"

	"ward/image"
)

// Constructors of image.Expr that simplify as they go. No expression of the
// image can fail, so that parts may be left out and moved freely.

func constExpr(b bool) image.Expr {
	if b {
		return image.Expr{Op: image.True}
	}
	return image.Expr{Op: image.False}
}

func not(e image.Expr) image.Expr {
	switch e.Op {
	case image.True, image.False:
		return constExpr(e.Op == image.False)
	case image.Not:
		return e.Args[0]
	}
	return image.Expr{Op: image.Not, Args: []image.Expr{e}}
}

// all is the conjunction of es.
func all(es ...image.Expr) image.Expr { return join(image.And, image.True, image.False, es) }

// some is the disjunction of es.
func some(es ...image.Expr) image.Expr { return join(image.Or, image.False, image.True, es) }

// join applies op; neutral is its neutral element, decisive the one that decides.
func join(op, neutral, decisive image.Op, es []image.Expr) image.Expr {
	var args []image.Expr
	for _, e := range es {
		switch e.Op {
		case neutral:
		case decisive:
			return e
		case op:
			args = append(args, e.Args...)
		default:
			args = append(args, e)
		}
	}
	switch len(args) {
	case 0:
		return image.Expr{Op: neutral}
	case 1:
		return args[0]
	}
	return image.Expr{Op: op, Args: args}
}

// choose is `if c then a else b`.
func choose(c, a, b image.Expr) image.Expr {
	switch {
	case c.Op == image.True:
		return a
	case c.Op == image.False:
		return b
	case a.Op == image.True:
		return some(c, b)
	case a.Op == image.False:
		return all(not(c), b)
	case b.Op == image.True:
		return some(not(c), a)
	case b.Op == image.False:
		return all(c, a)
	}
	return image.Expr{Op: image.If, Args: []image.Expr{c, a, b}}
}

// oneOf is the test that left is one of the values.
func oneOf(left image.Operand, values []image.Value) image.Expr {
	slices.SortFunc(values, func(a, b image.Value) int {
		return cmp.Or(cmp.Compare(a.Long, b.Long), cmp.Compare(a.String, b.String))
	})
	values = slices.Compact(values)
	switch len(values) {
	case 0:
		return constExpr(false)
	case 1:
		return image.Expr{Op: image.Eq, Left: left, Right: image.Operand{Value: values[0]}}
	}
	return image.Expr{Op: image.In, Left: left, Set: values}
}

// size counts the nodes and the levels of e.
func size(e *image.Expr) (nodes, depth int) {
	nodes = 1
	for i := range e.Args {
		n, d := size(&e.Args[i])
		nodes += n
		depth = max(depth, d)
	}
	return nodes, depth + 1
}

// maxPossible bounds the terms of a condition on users.
const maxPossible = 256

// possible is what must hold of the user for e to be true of some message. It
// has users and groups only, and may be true too often, never too seldom.
func possible(e *image.Expr) image.Expr {
	may, _ := approximate(e)
	return may
}

// approximate gives what holds of the user if e may be true of some message,
// and what makes e true of every message.
func approximate(e *image.Expr) (may, must image.Expr) {
	mays, musts := make([]image.Expr, len(e.Args)), make([]image.Expr, len(e.Args))
	for i := range e.Args {
		mays[i], musts[i] = approximate(&e.Args[i])
	}
	switch e.Op {
	case image.True, image.False, image.User, image.Group:
		return *e, *e
	case image.And:
		may, must = all(mays...), all(musts...)
	case image.Or:
		may, must = some(mays...), some(musts...)
	case image.Not:
		may, must = not(musts[0]), not(mays[0])
	case image.If:
		may = some(all(mays[0], mays[1]), all(not(musts[0]), mays[2]))
		must = all(some(not(mays[0]), musts[1]), some(musts[0], musts[2]))
	default:
		return constExpr(true), constExpr(false)
	}
	if n, d := size(&may); n > maxPossible || d > image.MaxDepth/2 {
		may = constExpr(true)
	}
	if n, d := size(&must); n > maxPossible || d > image.MaxDepth/2 {
		must = constExpr(false)
	}
	return may, must
}
