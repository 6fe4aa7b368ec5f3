package policy

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// What stands in place of a domain's index in a tuple.
const (
	user      = -1 // a user outside Ward
	theSystem = -2
	anObject  = -3 // tuple.object
)

// A tuple is what is known of a request before its message: who, what, to whom.
type tuple struct {
	principal, resource int // domains; user
	object              string
	action              *action
	iface               string // context.interface of publish, lookup and connect
	entry               string // context.entry of grant
	state, value        string // context.state and context.value of set
}

// residualKey is what of a tuple a residual depends on; the rest is zero.
type residualKey struct {
	t   tuple
	ctx *typ
}

// residual is what is left of the conditions of s for t. The scope is not part of it.
func (c *compiler) residual(s *source, t tuple) image.Expr {
	key := residualKey{t: t, ctx: t.action.ctx}
	if s.uses&syntax.Principal == 0 {
		key.t.principal = 0
	}
	if s.uses&syntax.Resource == 0 {
		key.t.resource, key.t.object = 0, ""
	}
	if s.uses&syntax.Action == 0 {
		key.t.action = nil
	}
	if s.uses&syntax.Context == 0 {
		key.ctx, key.t.iface, key.t.entry, key.t.state, key.t.value = nil, "", "", "", ""
	}
	if e, ok := s.residuals[key]; ok {
		return e
	}
	e := c.foldAll(s, t)
	s.residuals[key] = e
	return e
}

func (c *compiler) foldAll(s *source, t tuple) image.Expr {
	f := &folder{compiler: c, t: t, dynamic: t.action.kind != wardOwn}
	f.env = cedar.Env{Entities: c.entities, Action: t.action.uid, Principal: c.uidOf(t.principal, ""), Resource: c.uidOf(t.resource, t.object)}
	if t.iface != "" {
		f.env.Context = cedar.NewRecord(map[cedar.String]cedar.Value{"interface": cedar.String(t.iface)})
	}
	if t.entry != "" {
		f.env.Context = cedar.NewRecord(map[cedar.String]cedar.Value{"entry": cedar.String(t.entry)})
	}
	if t.state != "" {
		f.env.Context = cedar.NewRecord(map[cedar.String]cedar.Value{"state": cedar.String(t.state), "value": cedar.String(t.value)})
	}
	return c.foldConditions(s, f)
}

// foldConditions is what f leaves of the conditions of s.
func (c *compiler) foldConditions(s *source, f *folder) (e image.Expr) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case foldError:
			*c.findings = append(*c.findings, diag.Finding(p))
			s.broken = true
			e = constExpr(s.Forbid)
		default:
			panic(p)
		}
	}()
	e = constExpr(true)
	for _, cond := range s.Conditions {
		x := f.boolean(f.fold(f.inRing(cond.Body)))
		if cond.Unless {
			x = not(x)
		}
		e = all(e, x)
	}
	if n, d := size(&e); n > image.MaxNodes/2 || d > image.MaxDepth-8 {
		panic(failure(s.Pos, "split the policy", "condition of %d terms, %d levels deep", n, d))
	}
	return e
}

// uidOf names the principal or the resource of a tuple; nothing for a user,
// who is not known.
func (c *compiler) uidOf(index int, object string) cedar.UID {
	switch index {
	case user:
		return cedar.UID{}
	case theSystem:
		return cedar.NewUID(typeSystem, c.sys.Name.Value)
	case anObject:
		return cedar.NewUID(typeObject, object)
	}
	return c.domainUID(index)
}

// foldError is a finding that ends a fold.
type foldError diag.Finding

func failure(at diag.Pos, fix, format string, args ...any) foldError {
	return foldError{Severity: diag.Error, Pos: at, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// folder folds for one tuple. Whatever does not depend on the message is
// evaluated by cedar-go with all of Cedar; `&&`, `||`, `if` keep Cedar's order,
// so that a part that is never reached is not evaluated here either.
type folder struct {
	*compiler
	t       tuple
	env     cedar.Env
	dynamic bool
	steps   int // comparisons made
}

// A value is a folded expression: exactly one of its parts is set.
type value struct {
	constant cedar.Value
	expr     *image.Expr    // a Boolean
	operand  *image.Operand // a parameter, of type typ
	record   *typ           // a message at path, or state of owner
	owner    cedar.UID
	list     []value  // a set written out
	elements []uint32 // path of a repeated parameter
	user     bool     // a user outside
	userName bool
	branch   *branch
	path     []uint32
	typ      *typ
}

// branch is an if whose branches are not Boolean.
type branch struct {
	cond      image.Expr
	then, els value
}

// unknown reports whether e depends on the message or on a user.
func (f *folder) unknown(e *syntax.Expr) bool {
	return f.dynamic && e.Uses&(syntax.Context|syntax.State) != 0 || f.t.principal == user && e.Uses&syntax.Principal != 0 ||
		f.t.resource == user && e.Uses&syntax.Resource != 0
}

func exprValue(e image.Expr) value { return value{expr: &e} }

func (f *folder) fold(e *syntax.Expr) value {
	if !f.unknown(e) {
		v, err := cedar.Eval(e, f.env)
		if err != nil {
			panic(failure(e.Start(), "a policy must not fail: change the constants", "this fails when it is evaluated: %v", err))
		}
		return value{constant: v}
	}
	switch e.Op {
	case syntax.Var:
		if e.Name == "context" {
			return value{record: f.t.action.ctx}
		}
		return value{user: true}
	case syntax.And:
		return exprValue(f.chain(e, image.False, all))
	case syntax.Or:
		return exprValue(f.chain(e, image.True, some))
	case syntax.Not:
		return exprValue(not(f.boolean(f.fold(e.Args[0]))))
	case syntax.If:
		return f.ifThenElse(e)
	case syntax.Has, syntax.Access:
		return f.attributeOf(e)
	case syntax.Set:
		var l []value
		for _, a := range e.Args {
			l = append(l, f.fold(a))
		}
		return value{list: l}
	case syntax.Like:
		return exprValue(f.like(f.fold(e.Args[0]), e))
	case syntax.Is:
		return exprValue(constExpr(e.Name == typeUser))
	case syntax.In:
		return exprValue(f.in(f.fold(e.Args[1]), e))
	case syntax.IsIn:
		if e.Name != typeUser {
			return exprValue(constExpr(false))
		}
		return exprValue(f.in(f.fold(e.Args[1]), e))
	case syntax.Method:
		return exprValue(f.method(e))
	case syntax.Eq, syntax.Ne, syntax.Lt, syntax.Le, syntax.Gt, syntax.Ge:
		l, r := f.fold(e.Args[0]), f.fold(e.Args[1])
		switch e.Op {
		case syntax.Ne:
			return exprValue(not(f.compare(image.Eq, l, r, e)))
		case syntax.Lt:
			return exprValue(f.compare(image.Less, l, r, e))
		case syntax.Le:
			return exprValue(f.compare(image.LessEq, l, r, e))
		case syntax.Gt:
			return exprValue(f.compare(image.Less, r, l, e))
		case syntax.Ge:
			return exprValue(f.compare(image.LessEq, r, l, e))
		}
		return exprValue(f.compare(image.Eq, l, r, e))
	}
	panic(f.undecidable(e))
}

// chain folds a && b && … or a || b || …, from left to right, up to the first
// operand that decides; the parser nests them to the left.
func (f *folder) chain(e *syntax.Expr, decides image.Op, join func(...image.Expr) image.Expr) image.Expr {
	var operands []*syntax.Expr
	at := e
	for ; at.Op == e.Op; at = at.Args[0] {
		operands = append(operands, at.Args[1])
	}
	operands = append(operands, at)
	var folded []image.Expr
	for _, o := range slices.Backward(operands) {
		x := f.boolean(f.fold(o))
		folded = append(folded, x)
		if x.Op == decides {
			break
		}
	}
	return join(folded...)
}

// undecidable is the answer to what the checker should have refused.
func (f *folder) undecidable(e *syntax.Expr) foldError {
	return failure(e.Pos, "compare parameters with constants", "condition outside what a filter can decide")
}

func (f *folder) ifThenElse(e *syntax.Expr) value {
	c := f.boolean(f.fold(e.Args[0]))
	switch c.Op {
	case image.True:
		return f.fold(e.Args[1])
	case image.False:
		return f.fold(e.Args[2])
	}
	a, b := f.fold(e.Args[1]), f.fold(e.Args[2])
	if f.isBool(a) && f.isBool(b) {
		return exprValue(choose(c, f.boolean(a), f.boolean(b)))
	}
	return value{branch: &branch{c, a, b}}
}

func (f *folder) isBool(v value) bool {
	_, constant := v.constant.(cedar.Boolean)
	return constant || v.expr != nil || v.operand != nil && v.typ.kind == boolean
}

// boolean makes a condition of a Boolean value.
func (f *folder) boolean(v value) image.Expr {
	switch {
	case v.constant != nil:
		if b, ok := v.constant.(cedar.Boolean); ok {
			return constExpr(bool(b))
		}
	case v.expr != nil:
		return *v.expr
	case v.operand != nil && v.typ.kind == boolean:
		return image.Expr{Op: image.Eq, Left: *v.operand, Right: image.Operand{Value: image.Value{Long: 1}}}
	}
	panic(foldError{Severity: diag.Error, Message: "condition outside what a filter can decide"})
}

func (f *folder) attributeOf(e *syntax.Expr) value {
	on := f.fold(e.Args[0])
	if v, ok := f.stateOf(on, e); ok {
		return v
	}
	switch {
	case on.user && e.Op == syntax.Access && e.Name == "name":
		return value{userName: true}
	case on.user && e.Op == syntax.Has:
		_, ok := f.attrs[typeUser].rec.attrs[e.Name]
		return exprValue(constExpr(ok))
	case on.record == nil:
		panic(f.undecidable(e))
	}
	a := on.record.rec.attrs[e.Name]
	path := on.path
	if a != nil && a.number != 0 {
		path = append(slices.Clip(path), a.number)
	}
	if a != nil && a.beside {
		path = []uint32{image.MetadataField}
	}
	if e.Op == syntax.Has {
		switch {
		case a == nil:
			return exprValue(constExpr(false))
		case !a.optional:
			return exprValue(constExpr(true))
		}
		return exprValue(image.Expr{Op: image.Has, Path: path})
	}
	switch {
	case a == nil:
		panic(f.undecidable(e))
	case a.typ.kind == record:
		return value{record: a.typ, path: path}
	case a.typ.kind == set:
		return value{elements: path, typ: a.typ}
	}
	return value{operand: &image.Operand{What: a.what, Path: path}, typ: a.typ}
}

// maxSteps bounds the comparisons that one condition unfolds to: an if within
// a comparison, and a comparison of conditions, unfold to several.
const maxSteps = 4 * image.MaxNodes

func tooLarge(e *syntax.Expr) foldError {
	return failure(e.Pos, "split the policy", "comparison of conditions that unfolds to more than %d terms", image.MaxNodes)
}

// bounded stops an expression that doubles with each level before it is too large.
func (f *folder) bounded(x image.Expr, e *syntax.Expr) image.Expr {
	if n, _ := size(&x); n > image.MaxNodes {
		panic(tooLarge(e))
	}
	return x
}

// compare compares two values; op is Eq, Less or LessEq.
func (f *folder) compare(op image.Op, l, r value, e *syntax.Expr) image.Expr {
	if f.steps++; f.steps > maxSteps {
		panic(tooLarge(e))
	}
	switch {
	case l.branch != nil:
		return f.bounded(choose(l.branch.cond, f.compare(op, l.branch.then, r, e), f.compare(op, l.branch.els, r, e)), e)
	case r.branch != nil:
		return f.bounded(choose(r.branch.cond, f.compare(op, l, r.branch.then, e), f.compare(op, l, r.branch.els, e)), e)
	case l.constant != nil && r.constant != nil:
		return f.constants(op, l.constant, r.constant, e)
	case op == image.Eq && (l.user || l.userName):
		return f.userIs(l, r, e)
	case op == image.Eq && (r.user || r.userName):
		return f.userIs(r, l, e)
	case op == image.Eq && f.isBool(l) && f.isBool(r) && (l.operand == nil || r.operand == nil):
		a, b := f.boolean(l), f.boolean(r)
		return f.bounded(choose(a, b, not(b)), e)
	case op == image.Eq && l.constant != nil:
		l, r = r, l
	}
	if l.elements != nil {
		s := f.constantSet(r, e)
		return all(f.onlyOf(l, s), f.holdsAll(l, s))
	}
	if l.operand != nil && l.typ.names != nil && r.constant != nil {
		return f.named(l, func(name string) bool { return r.constant.Equal(cedar.String(name)) })
	}
	a, b := f.operandOf(l, e), f.operandOf(r, e)
	return image.Expr{Op: op, Left: a, Right: b}
}

// constants compares two constants, as they come up in the branches of an if.
func (f *folder) constants(op image.Op, l, r cedar.Value, e *syntax.Expr) image.Expr {
	if op == image.Eq {
		return constExpr(l.Equal(r))
	}
	a, ok1 := l.(cedar.Long)
	b, ok2 := r.(cedar.Long)
	if !ok1 || !ok2 {
		panic(f.undecidable(e))
	}
	return constExpr(a < b || op == image.LessEq && a == b)
}

// named is the test that an enum has one of the values whose names are ok.
func (f *folder) named(v value, ok func(string) bool) image.Expr {
	var numbers []image.Value
	for _, n := range v.typ.names.names {
		if ok(n) {
			numbers = append(numbers, image.Value{Long: v.typ.names.numbers[n]})
		}
	}
	if len(numbers) == len(v.typ.names.names) {
		return constExpr(true)
	}
	return oneOf(*v.operand, numbers)
}

func (f *folder) operandOf(v value, e *syntax.Expr) image.Operand {
	if v.operand != nil {
		return *v.operand
	}
	c, ok := constantOf(v.constant)
	if !ok {
		panic(f.undecidable(e))
	}
	return image.Operand{Value: c}
}

// constantOf is a constant in the form of the image.
func constantOf(v cedar.Value) (image.Value, bool) {
	switch v := v.(type) {
	case cedar.Long:
		return image.Value{Long: int64(v)}, true
	case cedar.Boolean:
		if v {
			return image.Value{Long: 1}, true
		}
		return image.Value{}, true
	case cedar.String:
		return image.Value{IsString: true, String: string(v)}, true
	}
	return image.Value{}, false
}

// userIs is the test that the user, or its name, equals a constant.
func (f *folder) userIs(u, v value, e *syntax.Expr) image.Expr {
	switch c := v.constant.(type) {
	case cedar.UID:
		x, _ := f.atom(c, true)
		return x
	case cedar.String:
		if c == "" || len(c) > 256 || strings.ContainsAny(string(c), ":/") {
			return constExpr(false)
		}
		x, _ := f.atom(cedar.NewUID(typeUser, string(c)), true)
		return x
	}
	panic(f.undecidable(e))
}

// in is the test that the user is in an entity or in one of a set.
func (f *folder) in(v value, e *syntax.Expr) image.Expr {
	var uids []cedar.UID
	switch c := v.constant.(type) {
	case cedar.UID:
		uids = []cedar.UID{c}
	case cedar.Set:
		for x := range c.All() {
			uids = append(uids, x.(cedar.UID))
		}
	default:
		panic(f.undecidable(e))
	}
	slices.SortFunc(uids, func(a, b cedar.UID) int { return strings.Compare(a.String(), b.String()) })
	res := constExpr(false)
	for _, u := range uids {
		x, _ := f.atom(u, false)
		res = some(res, x)
	}
	return res
}

func (f *folder) like(v value, e *syntax.Expr) image.Expr {
	if v.branch != nil {
		return choose(v.branch.cond, f.like(v.branch.then, e), f.like(v.branch.els, e))
	}
	matches := func(s string) bool {
		lit := &syntax.Expr{Op: syntax.String, Str: s}
		ok, err := cedar.Eval(&syntax.Expr{Op: syntax.Like, Args: []*syntax.Expr{lit}, Pattern: e.Pattern}, f.env)
		return err == nil && ok.Equal(cedar.Boolean(true))
	}
	if s, ok := v.constant.(cedar.String); ok {
		return constExpr(matches(string(s)))
	}
	p := e.Pattern
	switch {
	case v.operand == nil:
		panic(f.undecidable(e))
	case v.typ.names != nil:
		return f.named(v, matches)
	case len(p) == 1 && p[0].Wild:
		return constExpr(true)
	case len(p) == 0:
		p = []syntax.Piece{{}}
	}
	text := func(s string) image.Operand { return image.Operand{Value: image.Value{IsString: true, String: s}} }
	switch {
	case len(p) == 1:
		return image.Expr{Op: image.Eq, Left: *v.operand, Right: text(p[0].Text)}
	case len(p) == 2 && p[1].Wild:
		return image.Expr{Op: image.Prefix, Left: *v.operand, Right: text(p[0].Text)}
	case len(p) == 2 && p[0].Wild:
		return image.Expr{Op: image.Suffix, Left: *v.operand, Right: text(p[1].Text)}
	}
	x := gaps(p)
	x.Left = *v.operand
	return x
}

// method folds contains, containsAll, containsAny and isEmpty.
func (f *folder) method(e *syntax.Expr) image.Expr {
	l := f.fold(e.Args[0])
	if e.Name == "isEmpty" {
		if l.elements != nil {
			return image.Expr{Op: image.Eq, Left: image.Operand{What: image.Count, Path: l.elements}, Right: image.Operand{Value: image.Value{}}}
		}
		return constExpr(false) // a set written out has elements
	}
	r := f.fold(e.Args[1])
	if l.elements != nil || r.elements != nil {
		return f.elementsMethod(e, l, r)
	}
	if e.Name == "contains" {
		return f.contains(l, r, e)
	}
	var each []image.Expr
	for _, x := range f.items(r, e) {
		each = append(each, f.contains(l, x, e))
	}
	if e.Name == "containsAny" {
		return some(each...)
	}
	return all(each...)
}

// items are the elements of a constant set, or of one written out.
func (f *folder) items(v value, e *syntax.Expr) []value {
	if v.list != nil {
		return v.list
	}
	s, ok := v.constant.(cedar.Set)
	if !ok {
		panic(f.undecidable(e))
	}
	var res []value
	for x := range s.All() {
		res = append(res, value{constant: x})
	}
	slices.SortFunc(res, func(a, b value) int { return strings.Compare(a.constant.String(), b.constant.String()) })
	return res
}

func (f *folder) contains(l, x value, e *syntax.Expr) image.Expr {
	if x.branch != nil {
		return choose(x.branch.cond, f.contains(l, x.branch.then, e), f.contains(l, x.branch.els, e))
	}
	s, constant := l.constant.(cedar.Set)
	switch {
	case constant && x.constant != nil:
		return constExpr(s.Contains(x.constant))
	case constant && x.user:
		return f.in(value{constant: f.users(s)}, e)
	case constant && x.operand != nil && x.typ.names != nil:
		return f.named(x, func(n string) bool { return s.Contains(cedar.String(n)) })
	case constant && x.operand != nil:
		var values []image.Value
		for c := range s.All() {
			if v, ok := constantOf(c); ok {
				values = append(values, v)
			}
		}
		return oneOf(*x.operand, values)
	}
	var each []image.Expr
	for _, item := range f.items(l, e) {
		each = append(each, f.compare(image.Eq, item, x, e))
	}
	return some(each...)
}

// users keeps the users of a set: a user is none of the other entities.
func (f *folder) users(s cedar.Set) cedar.Set {
	var res []cedar.Value
	for v := range s.All() {
		if u, ok := v.(cedar.UID); ok && string(u.Type) == typeUser {
			res = append(res, u)
		}
	}
	return cedar.NewSet(res...)
}

// clientOf is a domain's ID in the image, or that of users.
func clientOf(index int) abi.DomainID {
	if index == user {
		return abi.NoDomain
	}
	return abi.DomainID(index)
}
