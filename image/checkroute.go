package image

import (
	"fmt"
	"math"
	"slices"

	"ward/abi"
)

func (c *checker) routes() error {
	type key struct {
		client, server abi.DomainID
		iface          uint32
	}
	seen := map[key]bool{}
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		k := key{r.Client, r.Server, r.Interface}
		if seen[k] {
			return fmt.Errorf("route %d is there twice", i)
		}
		seen[k] = true
		if err := c.route(r); err != nil {
			return fmt.Errorf("route %d: %w", i, err)
		}
	}
	return nil
}

func (c *checker) route(r *Route) error {
	n := abi.DomainID(len(c.img.Domains))
	if r.Client >= n && r.Client != abi.NoDomain || r.Server >= n {
		return fmt.Errorf("from domain %d to %d: there are %d", r.Client, r.Server, n)
	}
	exports := func(e Export) bool { return e.Interface == r.Interface }
	if int(r.Interface) >= len(c.img.Interfaces) || !slices.ContainsFunc(c.img.Domains[r.Server].Exports, exports) {
		return fmt.Errorf("interface %d is not exported by its server", r.Interface)
	}
	for _, v := range []Verdict{r.Connect, r.Lookup} {
		if err := c.verdict(v); err != nil {
			return err
		}
	}
	user := r.Client == abi.NoDomain
	if !user && len(r.ConnectUser.Forbid)+len(r.ConnectUser.Permit) > 0 {
		return fmt.Errorf("a decision on users, but its client is a domain")
	}
	if err := c.decision(&r.ConnectUser, nil, user); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	methods := c.img.Interfaces[r.Interface].Methods
	if len(r.Methods) != len(methods) {
		return fmt.Errorf("%d methods, its interface has %d", len(r.Methods), len(methods))
	}
	for i := range r.Methods {
		if err := c.decision(&r.Methods[i].Request, &c.img.Messages[methods[i].Request], user); err != nil {
			return fmt.Errorf("request of %s: %w", methods[i].Name, err)
		}
		if methods[i].ClientStream && r.Methods[i].Request.looksBeside(len(c.img.Metadata)) {
			return fmt.Errorf("request of %s: a condition on metadata, which comes with the call that opens a client's stream and is not decided on", methods[i].Name)
		}
		if err := c.decision(&r.Methods[i].Reply, &c.img.Messages[methods[i].Reply], user); err != nil {
			return fmt.Errorf("reply of %s: %w", methods[i].Name, err)
		}
	}
	return nil
}

// decision checks the rules of d over the parameters of m; m nil: over none.
func (c *checker) decision(d *Decision, m *Message, user bool) error {
	captures := map[string]bool{}
	var words map[uint32]bool
	if m != nil {
		words = map[uint32]bool{}
	}
	for n, rules := range [][]Rule{d.Permit, d.Forbid} {
		forbid := n == 1
		seen := map[uint32]bool{}
		for i := range rules {
			r := &rules[i]
			if int(r.Policy) >= len(c.img.Policies) || c.img.Policies[r.Policy].Forbid != forbid {
				return fmt.Errorf("rule of policy %d, which does not exist or is of the other effect", r.Policy)
			}
			if seen[r.Policy] {
				return fmt.Errorf("policy %q has two rules in one decision", c.img.Policies[r.Policy].ID)
			}
			seen[r.Policy] = true
			e := exprChecker{checker: c, message: m, user: user, captures: captures, words: words}
			if err := e.expr(&r.When, 1); err != nil {
				return fmt.Errorf("policy %q: %w", c.img.Policies[r.Policy].ID, err)
			}
		}
	}
	if n := len(captures); n > MaxCaptures {
		return fmt.Errorf("%d parameters in conditions: the limit is %d", n, MaxCaptures)
	}
	return c.effects(d, words)
}

// An exprChecker walks the condition of one rule.
type exprChecker struct {
	*checker
	message  *Message
	user     bool
	captures map[string]bool // parameters seen, by path
	words    map[uint32]bool // of state that are looked at; nil: none may be
	nodes    int
}

// kind is the type of an operand.
type kind uint8

const (
	kindLong kind = iota + 1 // also Bool and enums
	kindText
)

func (c *exprChecker) expr(e *Expr, depth int) error {
	if c.nodes++; c.nodes > MaxNodes || depth > MaxDepth {
		return fmt.Errorf("condition of more than %d nodes or %d levels", MaxNodes, MaxDepth)
	}
	if err := e.shape(); err != nil {
		return err
	}
	for i := range e.Args {
		if err := c.expr(&e.Args[i], depth+1); err != nil {
			return err
		}
	}
	switch e.Op {
	case Has:
		f, err := c.field(e.Path)
		if err == nil && f.Card != Optional {
			err = fmt.Errorf("has: field %s is never absent", f.Name)
		}
		return err
	case User, Group:
		names := c.img.Users
		if e.Op == Group {
			names = c.img.Groups
		}
		if !c.user || int(e.Atom) >= len(names) {
			return fmt.Errorf("user or group %d: there are %d, and only users outside have them", e.Atom, len(names))
		}
	case Eq, Less, LessEq, In, Prefix, Suffix:
		return c.comparison(e)
	case Like:
		return c.like(e)
	case AnyIn, AnyOut:
		return c.anyOf(e)
	}
	return nil
}

// shape checks that e has the parts of its operation and no others.
func (e *Expr) shape() error {
	low, high := 0, 0
	switch e.Op {
	case And, Or:
		low, high = 1, MaxNodes
	case Not:
		low, high = 1, 1
	case If:
		low, high = 3, 3
	case True, False, Has, Eq, Less, LessEq, In, Prefix, Suffix, User, Group, Like, AnyIn, AnyOut:
	default:
		return fmt.Errorf("unknown operation %d", e.Op)
	}
	if n := len(e.Args); n < low || n > high {
		return fmt.Errorf("operation %d with %d arguments", e.Op, n)
	}
	if (len(e.Set) > 0) != e.hasSet() || (len(e.Path) > 0) != (e.Op == Has) {
		return fmt.Errorf("operation %d with a set or a path that it has no use for, or without", e.Op)
	}
	return nil
}

func (c *exprChecker) comparison(e *Expr) error {
	left, err := c.operand(&e.Left)
	if err != nil {
		return err
	}
	if e.Op == In {
		if err := setInOrder(e.Set, left == kindText); err != nil {
			return err
		}
		if left == kindText && e.Left.What == Constant {
			return fmt.Errorf("in: a constant text on the left")
		}
		return nil
	}
	right, err := c.operand(&e.Right)
	if err != nil {
		return err
	}
	text := e.Op == Prefix || e.Op == Suffix
	switch {
	case left != right, text && left != kindText, (e.Op == Less || e.Op == LessEq) && left != kindLong:
		return fmt.Errorf("operation %d does not compare these types", e.Op)
	case left == kindText && (e.Left.What != Scalar || e.Right.What != Constant):
		return fmt.Errorf("text is compared as a parameter on the left with a constant on the right")
	}
	return nil
}

// above reports whether v comes after w in a set.
func (v *Value) above(w *Value) bool {
	if v.IsString {
		return v.String > w.String
	}
	return v.Long > w.Long
}

func (c *exprChecker) operand(o *Operand) (kind, error) {
	if o.What == Constant {
		if o.Value.IsString {
			return kindText, nil
		}
		return kindLong, nil
	}
	if o.What == CellValue {
		return kindLong, c.cellValue(o)
	}
	f, err := c.field(o.Path)
	if err != nil {
		return 0, err
	}
	ok := false
	switch o.What {
	case Scalar:
		if f.Type == String && f.Card != Repeated {
			return kindText, nil
		}
		ok = f.Card != Repeated && (f.Type.integer() || f.Type == Bool) && !f.wide()
	case Size:
		ok = f.Type == Bytes && f.Card != Repeated
	case Count:
		ok = f.Card == Repeated
	}
	if !ok {
		return 0, fmt.Errorf("property %d of field %s, which its type does not have", o.What, f.Name)
	}
	return kindLong, nil
}

// wide reports whether f may have numbers that no constant of a policy is: as
// one, 2^64-1 would be -1.
func (f *Field) wide() bool {
	return (f.Type == Uint64 || f.Type == Fixed64) && (!f.HasRange || f.Max > math.MaxInt64)
}

// both reports whether v is a number and a text. Two such constants may differ
// and be one in a filter's tables, where the last would have the say.
func (v *Value) both() bool { return v.IsString && v.Long != 0 || !v.IsString && v.String != "" }

// field resolves a path of field numbers.
func (c *exprChecker) field(p []uint32) (*Field, error) {
	if c.message == nil || len(p) == 0 || len(p) > MaxNesting {
		return nil, fmt.Errorf("path of %d fields", len(p))
	}
	if IsMetadata(p) {
		f := c.img.FieldAt(nil, p)
		if f == nil || len(p) != 2 {
			return nil, fmt.Errorf("no metadata at path %v: there are %d keys", p, len(c.img.Metadata))
		}
		return f, nil
	}
	m := c.message
	for i, number := range p {
		j, ok := slices.BinarySearchFunc(m.Fields, number, func(f Field, n uint32) int { return int(f.Number) - int(n) })
		if !ok {
			return nil, fmt.Errorf("message %s has no field %d", m.Name, number)
		}
		f := &m.Fields[j]
		if i == len(p)-1 {
			return f, nil
		}
		if f.Type != Nested || f.Card == Repeated {
			return nil, fmt.Errorf("path through field %s, which is not one message", f.Name)
		}
		m = &c.img.Messages[f.Message]
	}
	return nil, fmt.Errorf("empty path")
}
