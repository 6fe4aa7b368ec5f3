package filter

import (
	"slices"

	"ward/image"
)

// fold resolves the atoms of d and drops what they decide. What is left has
// True only as a whole condition, False not at all in a rule's condition, and
// no permit after one that always matches, but for those with effects.
func fold(d image.Decision, atoms Atoms) image.Decision {
	return image.Decision{Forbid: foldRules(d.Forbid, atoms), Permit: foldRules(d.Permit, atoms), Silent: d.Silent}
}

func foldRules(rules []image.Rule, atoms Atoms) []image.Rule {
	var out []image.Rule
	always := false
	for _, r := range rules {
		if always && !hasEffect(&r) {
			continue
		}
		r.When = foldExpr(r.When, atoms)
		if r.When.Op == image.False {
			continue
		}
		out = append(out, r)
		always = always || r.When.Op == image.True
	}
	return out
}

func constant(b bool) image.Expr {
	if b {
		return image.Expr{Op: image.True}
	}
	return image.Expr{Op: image.False}
}

func foldExpr(e image.Expr, atoms Atoms) image.Expr {
	switch e.Op {
	case image.User:
		return constant(atoms.User >= 0 && uint32(atoms.User) == e.Atom)
	case image.Group:
		return constant(slices.Contains(atoms.Groups, int(e.Atom)))
	case image.Not:
		a := foldExpr(e.Args[0], atoms)
		switch a.Op {
		case image.True, image.False:
			return constant(a.Op == image.False)
		case image.Not:
			return a.Args[0]
		}
		return image.Expr{Op: image.Not, Args: []image.Expr{a}}
	case image.If:
		c := foldExpr(e.Args[0], atoms)
		switch c.Op {
		case image.True:
			return foldExpr(e.Args[1], atoms)
		case image.False:
			return foldExpr(e.Args[2], atoms)
		}
		a, b := foldExpr(e.Args[1], atoms), foldExpr(e.Args[2], atoms)
		if a.Op == b.Op && (a.Op == image.True || a.Op == image.False) {
			return a
		}
		return image.Expr{Op: image.If, Args: []image.Expr{c, a, b}}
	case image.And, image.Or:
		// An And without what is true, decided by what is false; an Or the other way round.
		skip, stop := image.True, image.False
		if e.Op == image.Or {
			skip, stop = stop, skip
		}
		var args []image.Expr
		for _, a := range e.Args {
			a = foldExpr(a, atoms)
			if a.Op == skip {
				continue
			}
			if a.Op == stop {
				return a // no condition can err, so what stands before does not matter
			}
			args = append(args, a)
		}
		switch len(args) {
		case 0:
			return constant(skip == image.True)
		case 1:
			return args[0]
		}
		return image.Expr{Op: e.Op, Args: args}
	case image.Eq, image.Less, image.LessEq:
		l, r := e.Left, e.Right
		if l.What == image.Constant && r.What == image.Constant && !l.Value.IsString && !r.Value.IsString {
			switch e.Op {
			case image.Eq:
				return constant(l.Value.Long == r.Value.Long)
			case image.Less:
				return constant(l.Value.Long < r.Value.Long)
			}
			return constant(l.Value.Long <= r.Value.Long)
		}
	case image.In:
		if len(e.Set) == 0 {
			return constant(false)
		}
	}
	return e
}
