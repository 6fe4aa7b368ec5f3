package cedar

import (
	cedargo "github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"ward/policy/internal/syntax"
)

func (p *Policy) compiled() *cedargo.Policy {
	return cedargo.NewPolicyFromAST((*publicast.Policy)(p.ast))
}

// Build makes cedar-go's tree of an expression.
func Build(e *syntax.Expr) Node {
	var args []Node
	for _, a := range e.Args {
		args = append(args, Build(a))
	}
	bin := func() ast.BinaryNode { return ast.BinaryNode{Left: args[0], Right: args[1]} }
	un := func() ast.UnaryNode { return ast.UnaryNode{Arg: args[0]} }
	str := func() ast.StrOpNode { return ast.StrOpNode{Arg: args[0], Value: types.String(e.Name)} }
	switch e.Op {
	case syntax.Bool:
		return ast.NodeValue{Value: types.Boolean(e.Bool)}
	case syntax.Long:
		return ast.NodeValue{Value: types.Long(e.Long)}
	case syntax.String:
		return ast.NodeValue{Value: types.String(e.Str)}
	case syntax.Entity:
		return ast.NodeValue{Value: NewUID(e.Name, e.Str)}
	case syntax.Var:
		return ast.NodeTypeVariable{Name: types.String(e.Name)}
	case syntax.And:
		return ast.NodeTypeAnd{BinaryNode: bin()}
	case syntax.Or:
		return ast.NodeTypeOr{BinaryNode: bin()}
	case syntax.Not:
		return ast.NodeTypeNot{UnaryNode: un()}
	case syntax.Neg:
		return ast.NodeTypeNegate{UnaryNode: un()}
	case syntax.If:
		return ast.NodeTypeIfThenElse{If: args[0], Then: args[1], Else: args[2]}
	case syntax.Eq:
		return ast.NodeTypeEquals{BinaryNode: bin()}
	case syntax.Ne:
		return ast.NodeTypeNotEquals{BinaryNode: bin()}
	case syntax.Lt:
		return ast.NodeTypeLessThan{BinaryNode: bin()}
	case syntax.Le:
		return ast.NodeTypeLessThanOrEqual{BinaryNode: bin()}
	case syntax.Gt:
		return ast.NodeTypeGreaterThan{BinaryNode: bin()}
	case syntax.Ge:
		return ast.NodeTypeGreaterThanOrEqual{BinaryNode: bin()}
	case syntax.In:
		return ast.NodeTypeIn{BinaryNode: bin()}
	case syntax.Add:
		return ast.NodeTypeAdd{BinaryNode: bin()}
	case syntax.Sub:
		return ast.NodeTypeSub{BinaryNode: bin()}
	case syntax.Mul:
		return ast.NodeTypeMult{BinaryNode: bin()}
	case syntax.Has:
		return ast.NodeTypeHas{StrOpNode: str()}
	case syntax.Access:
		return ast.NodeTypeAccess{StrOpNode: str()}
	case syntax.Like:
		return ast.NodeTypeLike{Arg: args[0], Value: pattern(e.Pattern)}
	case syntax.Is:
		return ast.NodeTypeIs{Left: args[0], EntityType: types.EntityType(e.Name)}
	case syntax.IsIn:
		return ast.NodeTypeIsIn{NodeTypeIs: ast.NodeTypeIs{Left: args[0], EntityType: types.EntityType(e.Name)}, Entity: args[1]}
	case syntax.Method:
		return method(e.Name, args)
	case syntax.Call:
		return ast.NodeTypeExtensionCall{Name: types.Path(e.Name), Args: args}
	case syntax.Set:
		return ast.NodeTypeSet{Elements: args}
	case syntax.Record:
		var r ast.NodeTypeRecord
		for i, k := range e.Keys {
			r.Elements = append(r.Elements, ast.RecordElementNode{Key: types.String(k), Value: args[i]})
		}
		return r
	}
	panic("syntax tree with an unknown node")
}

func method(name string, args []Node) Node {
	if name == "isEmpty" {
		return ast.NodeTypeIsEmpty{UnaryNode: ast.UnaryNode{Arg: args[0]}}
	}
	b := ast.BinaryNode{Left: args[0], Right: args[1]}
	switch name {
	case "contains":
		return ast.NodeTypeContains{BinaryNode: b}
	case "containsAll":
		return ast.NodeTypeContainsAll{BinaryNode: b}
	case "containsAny":
		return ast.NodeTypeContainsAny{BinaryNode: b}
	case "hasTag":
		return ast.NodeTypeHasTag{BinaryNode: b}
	case "getTag":
		return ast.NodeTypeGetTag{BinaryNode: b}
	}
	panic("syntax tree with an unknown method")
}

// pattern makes cedar-go's form of a pattern, in which the empty pattern has
// one empty piece.
func pattern(pieces []syntax.Piece) types.Pattern {
	var comps []any
	for _, p := range pieces {
		if p.Wild {
			comps = append(comps, types.Wildcard{})
		} else {
			comps = append(comps, types.String(p.Text))
		}
	}
	if len(comps) == 0 {
		comps = append(comps, types.String(""))
	}
	return types.NewPattern(comps...)
}
