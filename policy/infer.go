package policy

import (
	"strconv"

	"ward/policy/internal/syntax"
)

// expr is the type of e where g is known to be there, and what is known to be
// there if e is true. It reports what is wrong; the type is then anyType.
func (k *checker) expr(e *syntax.Expr, g *guards) (*typ, *guards) {
	switch e.Op {
	case syntax.Bool:
		return knownBool(e.Bool), nil
	case syntax.Long:
		return longType, nil
	case syntax.String:
		return textType, nil
	case syntax.Entity:
		return entityType(e.Name), nil
	case syntax.Var:
		return k.variable(e), nil
	case syntax.And:
		return k.and(e, g)
	case syntax.Or:
		return k.or(e, g)
	case syntax.Not:
		t, _ := k.expr(e.Args[0], g)
		if !k.want(e.Args[0], t, boolean) || t.known == nil {
			return boolType, nil
		}
		return knownBool(!*t.known), nil
	case syntax.If:
		return k.ifThenElse(e, g)
	case syntax.Has:
		return k.has(e, g)
	case syntax.Access:
		return k.access(e, g), nil
	}
	args := make([]*typ, len(e.Args))
	wrong := false
	for i, a := range e.Args {
		args[i], _ = k.expr(a, g)
		wrong = wrong || args[i].kind == anyKind
	}
	if wrong && e.Op != syntax.Set {
		return resultOf(e.Op), nil
	}
	switch e.Op {
	case syntax.Eq, syntax.Ne:
		return k.equal(e, args), nil
	case syntax.Lt, syntax.Le, syntax.Gt, syntax.Ge:
		return k.order(e, args), nil
	case syntax.Neg, syntax.Add, syntax.Sub, syntax.Mul:
		return k.arithmetic(e, args), nil
	case syntax.In, syntax.Is, syntax.IsIn:
		return k.hierarchy(e, args), nil
	case syntax.Like:
		return k.like(e, args[0]), nil
	case syntax.Method:
		return k.method(e, args), nil
	case syntax.Call:
		return k.call(e, args), nil
	case syntax.Set:
		return k.setOf(e, args), nil
	case syntax.Record:
		return k.recordOf(e, args), nil
	}
	return anyType, nil
}

// resultOf is the type of an operation whose operands are already reported.
func resultOf(op syntax.Op) *typ {
	switch op {
	case syntax.Eq, syntax.Ne, syntax.Lt, syntax.Le, syntax.Gt, syntax.Ge, syntax.In, syntax.Is, syntax.IsIn, syntax.Like:
		return boolType
	}
	return anyType
}

func (k *checker) variable(e *syntax.Expr) *typ {
	switch e.Name {
	case "principal":
		return entityType(k.env.principal)
	case "resource":
		return entityType(k.env.resource)
	case "action":
		return entityType(string(k.env.action.uid.Type))
	}
	return k.env.ctx
}

func (k *checker) and(e *syntax.Expr, g *guards) (*typ, *guards) {
	l, lg := k.expr(e.Args[0], g)
	k.want(e.Args[0], l, boolean)
	if l.known != nil && !*l.known {
		return l, nil // as in Cedar, what cannot be reached is not checked
	}
	r, rg := k.expr(e.Args[1], g.and(lg))
	k.want(e.Args[1], r, boolean)
	if r.known != nil && (!*r.known || l.known != nil) {
		return r, lg.and(rg)
	}
	return boolType, lg.and(rg)
}

func (k *checker) or(e *syntax.Expr, g *guards) (*typ, *guards) {
	l, lg := k.expr(e.Args[0], g)
	k.want(e.Args[0], l, boolean)
	if l.known != nil && *l.known {
		return l, lg
	}
	r, rg := k.expr(e.Args[1], g)
	k.want(e.Args[1], r, boolean)
	switch {
	case l.known != nil: // false
		return r, rg
	case r.known != nil && *r.known:
		return r, rg
	case r.known != nil:
		return l, lg
	}
	return boolType, lg.or(rg)
}

func (k *checker) ifThenElse(e *syntax.Expr, g *guards) (*typ, *guards) {
	c, cg := k.expr(e.Args[0], g)
	k.want(e.Args[0], c, boolean)
	if c.known != nil {
		if *c.known {
			t, tg := k.expr(e.Args[1], g.and(cg))
			return t, cg.and(tg)
		}
		return k.expr(e.Args[2], g)
	}
	t, tg := k.expr(e.Args[1], g.and(cg))
	f, fg := k.expr(e.Args[2], g)
	if !compatible(t, f) {
		k.errorf(e, e.Args[2].Start(), "let both branches be of one type", "%s, and %s", k.describe(e.Args[1], t), k.describe(e.Args[2], f))
		return anyType, nil
	}
	if k.symbolic(e) && !t.is(boolean) && !t.is(long) && !t.is(text) {
		return k.outside(e, "write conditions of Bool in the branches", "if that chooses a "+t.String()+" by a parameter"), nil
	}
	if t.kind == boolean {
		return boolType, cg.and(tg).or(fg)
	}
	if t.kind == anyKind {
		t = f
	}
	return t, nil
}

func (k *checker) has(e *syntax.Expr, outer *guards) (*typ, *guards) {
	on, _ := k.expr(e.Args[0], outer)
	if on.kind == anyKind {
		return boolType, nil
	}
	if on.kind != record && on.kind != entity {
		k.errorf(e, e.Args[0].Start(), "", "%s, which has no attributes", k.describe(e.Args[0], on))
		return boolType, nil
	}
	a := k.attribute(e, on)
	path := e.Args[0].Path()
	switch {
	case a == nil:
		return knownBool(false), nil
	case a.left != "":
		return boolType, nil
	case !a.optional:
		return knownBool(true), nil
	}
	k.optional[e] = on.name
	if path == "" {
		return boolType, nil
	}
	var g *guards
	return boolType, g.with(access(e).Path())
}

// access is the attribute that a `has` asks for.
func access(has *syntax.Expr) *syntax.Expr {
	return &syntax.Expr{Op: syntax.Access, Name: has.Name, Args: has.Args}
}

func (k *checker) access(e *syntax.Expr, g *guards) *typ {
	on, _ := k.expr(e.Args[0], g)
	if on.kind == anyKind {
		return anyType
	}
	if on.kind != record && on.kind != entity {
		k.errorf(e, e.Pos, "", "%s, which has no attribute %s", k.describe(e.Args[0], on), quote(e.Name))
		return anyType
	}
	a := k.attribute(e, on)
	if a == nil || k.reported[e] {
		return anyType
	}
	if k.user(e.Args[0]) && e.Name != "name" && on.kind == entity {
		k.errorf(e, e.Pos, `compare with users by name: principal == User::"…", or by group: principal in Group::"…"`,
			"%s of a user is not known when the policy is compiled", e.Name)
		return anyType
	}
	if a.optional && !g.has(e.Path()) {
		k.errorf(e, e.Pos, "write "+e.Args[0].Path()+" has "+attrName(e.Name)+" && …",
			"%s is optional in %s: it may be absent, and a policy must not fail then", quote(e.Name), on.name)
		return anyType
	}
	return a.typ
}

func (k *checker) equal(e *syntax.Expr, t []*typ) *typ {
	l, r := e.Args[0], e.Args[1]
	if !compatible(t[0], t[1]) {
		k.mismatch(e, t)
		return boolType
	}
	if t[0].names != nil {
		k.closedWorld(r, t[0].names)
	}
	if t[1].names != nil {
		k.closedWorld(l, t[1].names)
	}
	if k.user(e) && !(k.isUser(l) && k.constant(r) || k.isUser(r) && k.constant(l) || k.userName(l) && k.constant(r) || k.userName(r) && k.constant(l)) &&
		!t[0].is(boolean) {
		return k.outside(e, `compare the user with a constant: principal == User::"…"`, "a user is not known when the policy is compiled")
	}
	if k.constant(e) {
		return boolType
	}
	switch t[0].kind {
	case text:
		both := k.symbolic(l) && k.symbolic(r)
		if both && (t[0].names == nil || t[1].names == nil || t[0].names.what != t[1].names.what) {
			return k.outside(e, `compare each with constants: context.x == "a" && context.y == "a"`, "two String parameters compared with each other")
		}
	case record, set:
		if k.isElements(l) || k.isElements(r) {
			k.closedSets(e, t[0].elem, t[1].elem)
			return k.ofElements(e, t[0].elem)
		}
		if k.symbolic(e) {
			return k.outside(e, "compare the attributes one by one", "comparison of a whole "+t[0].String())
		}
	}
	return boolType
}

// mismatch reports a comparison of two types.
func (k *checker) mismatch(e *syntax.Expr, t []*typ) {
	at, other := 1, 0
	if e.Args[0].Op == syntax.Long || e.Args[0].Op == syntax.String || e.Args[0].Op == syntax.Bool {
		at, other = 0, 1
	}
	fix := "compare it with a " + t[other].String()
	if s := e.Args[at]; s.Op == syntax.String && t[other].kind == long {
		if _, err := strconv.ParseInt(s.Str, 10, 64); err == nil {
			fix = "write " + s.Str + " without quotes"
		}
	}
	if t[other].kind == record && t[other].rec.attrs["size"] != nil {
		fix = "the context has the size of bytes only: write .size"
	}
	k.errorf(e, e.Args[at].Start(), fix, "type mismatch: %s, but %s", k.describe(e.Args[other], t[other]), k.describe(e.Args[at], t[at]))
}

func (k *checker) order(e *syntax.Expr, t []*typ) *typ {
	ext := func(t *typ) bool { return t.kind == extension && (t.name == "datetime" || t.name == "duration") }
	if ext(t[0]) && compatible(t[0], t[1]) {
		return boolType
	}
	if t[0].kind != long || t[1].kind != long {
		if t[0].kind == t[1].kind || t[0].kind != long && t[1].kind != long {
			k.want(e.Args[0], t[0], long)
			return boolType
		}
		k.mismatch(e, t)
	}
	return boolType
}

func (k *checker) arithmetic(e *syntax.Expr, t []*typ) *typ {
	ok := true
	for i, a := range e.Args {
		ok = k.want(a, t[i], long) && ok
	}
	if ok && k.symbolic(e) {
		k.errorf(e, e.Pos, "move the arithmetic to the constants, or state the bound in the interface",
			"arithmetic on a parameter, which the caller controls, could overflow")
		return anyType
	}
	return longType
}

func (k *checker) hierarchy(e *syntax.Expr, t []*typ) *typ {
	if !k.want(e.Args[0], t[0], entity) {
		return boolType
	}
	if k.user(e) && !k.isUser(e.Args[0]) {
		return k.outside(e, `write principal in Group::"…"`, "a user is not known when the policy is compiled")
	}
	if e.Op == syntax.Is || e.Op == syntax.IsIn {
		if t[0].name != e.Name {
			return knownBool(false)
		}
		if e.Op == syntax.Is {
			return knownBool(true)
		}
	}
	r := t[1]
	if r.kind == set {
		r = r.elem
	}
	if !r.is(entity) {
		k.errorf(e, e.Args[1].Start(), `write an entity, as Role::"…", or a set of them; of other values ask […].contains(…)`, "%s, where an entity or a set of entities is expected", k.describe(e.Args[1], t[1]))
		return boolType
	}
	if k.user(e.Args[1]) {
		return k.outside(e, "name the users or groups", "a user is not known when the policy is compiled")
	}
	if e.Op == syntax.In && e.Args[0].Op == syntax.Var && e.Args[0].Name == "action" {
		return k.actionIn(e.Args[1])
	}
	return boolType
}
