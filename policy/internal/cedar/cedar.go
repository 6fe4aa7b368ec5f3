// Package cedar is the only place of Ward that uses cedar-go, and in
// particular its x/exp packages, which may change: reading policies,
// evaluating expressions, authorizing, and validating against a schema.
package cedar

import (
	"fmt"

	cedargo "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"ward/policy/internal/syntax"
)

// The types of cedar-go that the compiler handles.
type (
	Value   = types.Value
	UID     = types.EntityUID
	Long    = types.Long
	Boolean = types.Boolean
	String  = types.String
	Set     = types.Set
	Record  = types.Record
	Entity  = types.Entity
	Node    = ast.IsNode
)

// Entities are the entities of a system.
type Entities = types.EntityMap

// NewUID names an entity.
func NewUID(typ, id string) UID { return types.NewEntityUID(types.EntityType(typ), types.String(id)) }

// NewRecord and NewSet make values.
func NewRecord(m map[String]Value) Record { return types.NewRecord(m) }
func NewSet(v ...Value) Set               { return types.NewSet(v...) }

// NewEntity makes an entity.
func NewEntity(uid UID, parents []UID, attrs map[String]Value) Entity {
	return Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...), Attributes: NewRecord(attrs)}
}

// A Policy is a policy as cedar-go reads it.
type Policy struct{ ast *ast.Policy }

// Read reads one policy with cedar-go and checks that it has the same tree as
// p: Ward's reader finds places, cedar-go says what a policy means.
func Read(p *syntax.Policy) (*Policy, error) {
	var theirs cedargo.Policy
	if err := theirs.UnmarshalCedar([]byte(p.Text)); err != nil {
		return nil, err
	}
	a := (*ast.Policy)(theirs.AST())
	if err := same(p, a); err != nil {
		return nil, err
	}
	return &Policy{a}, nil
}

func same(p *syntax.Policy, a *ast.Policy) error {
	if p.Forbid == bool(a.Effect) || len(p.Conditions) != len(a.Conditions) || len(p.Annotations) != len(a.Annotations) {
		return fmt.Errorf("read in two ways")
	}
	for i, an := range a.Annotations {
		if string(an.Key) != p.Annotations[i].Key || string(an.Value) != p.Annotations[i].Value {
			return fmt.Errorf("annotation @%s read in two ways", an.Key)
		}
	}
	for i, s := range []struct {
		ours   syntax.Scope
		theirs ast.IsScopeNode
	}{{p.Principal, a.Principal}, {p.Action, a.Action}, {p.Resource, a.Resource}} {
		if !sameScope(s.ours, s.theirs) {
			return fmt.Errorf("constraint on the %s read in two ways", [...]string{"principal", "action", "resource"}[i])
		}
	}
	for i, c := range p.Conditions {
		if c.Unless == bool(a.Conditions[i].Condition) || !ast.Equal(ast.NewNode(Build(c.Body)), ast.NewNode(a.Conditions[i].Body)) {
			return fmt.Errorf("condition at line %d read in two ways", c.Pos.Line)
		}
	}
	return nil
}

func sameScope(s syntax.Scope, n ast.IsScopeNode) bool {
	var got []UID
	for _, u := range s.UIDs {
		got = append(got, NewUID(u.Type, u.ID))
	}
	switch n := n.(type) {
	case ast.ScopeTypeAll:
		return s.Kind == syntax.All
	case ast.ScopeTypeEq:
		return s.Kind == syntax.Equal && got[0] == n.Entity
	case ast.ScopeTypeIn:
		return s.Kind == syntax.Within && got[0] == n.Entity
	case ast.ScopeTypeInSet:
		if s.Kind != syntax.Among || len(got) != len(n.Entities) {
			return false
		}
		for i := range got {
			if got[i] != n.Entities[i] {
				return false
			}
		}
		return true
	case ast.ScopeTypeIs:
		return s.Kind == syntax.OfType && s.Type == string(n.Type)
	case ast.ScopeTypeIsIn:
		return s.Kind == syntax.TypeIn && s.Type == string(n.Type) && got[0] == n.Entity
	}
	return false
}

// An Env is what an expression is evaluated in.
type Env struct {
	Entities                    Entities
	Principal, Action, Resource UID
	Context                     Record
}

// Eval evaluates an expression with all of Cedar.
func Eval(e *syntax.Expr, env Env) (Value, error) {
	return eval.Eval(Build(e), eval.Env{Entities: env.Entities, Principal: env.Principal, Action: env.Action, Resource: env.Resource, Context: env.Context})
}

// Authorize decides on a request by the whole policy set, as Cedar does. The
// result names the policies that decided, by ID, and those that erred.
func Authorize(policies map[string]*Policy, env Env) (allow bool, reasons, errs []string) {
	set := cedargo.PolicyMap{}
	for id, p := range policies {
		set[cedargo.PolicyID(id)] = p.compiled()
	}
	d, diag := cedargo.Authorize(set, env.Entities, cedargo.Request{Principal: env.Principal, Action: env.Action, Resource: env.Resource, Context: env.Context})
	for _, r := range diag.Reasons {
		reasons = append(reasons, string(r.PolicyID))
	}
	for _, e := range diag.Errors {
		errs = append(errs, string(e.PolicyID)+": "+e.Message)
	}
	return d == cedargo.Allow, reasons, errs
}

// A Validator checks policies against a schema, as Cedar's strict mode does.
type Validator struct{ v *validate.Validator }

// NewValidator reads a schema in Cedar's own notation.
func NewValidator(text string) (*Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, err
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, err
	}
	return &Validator{validate.New(r)}, nil
}

// Policy reports what the validator says of a policy.
func (v *Validator) Policy(p *Policy) error { return v.v.Policy("", p.ast) }
