package explain

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/policy/eval"
)

// show writes a condition as eval.Show does, but for the values of bools and
// enums, which an image has as numbers: `urgent is false`, `format == "PNG"`.
func (a *answerer) show(e *image.Expr) string {
	var args []string
	for i := range e.Args {
		args = append(args, a.show(&e.Args[i]))
	}
	switch e.Op {
	case image.And:
		return "(" + strings.Join(args, " && ") + ")"
	case image.Or:
		return "(" + strings.Join(args, " || ") + ")"
	case image.If:
		return "(if " + args[0] + " then " + args[1] + " else " + args[2] + ")"
	case image.Not:
		if name, is, ok := a.boolean(&e.Args[0]); ok {
			return name + " is " + strconv.FormatBool(!is)
		}
		if strings.HasPrefix(args[0], "(") {
			return "!" + args[0]
		}
		return "!(" + args[0] + ")"
	case image.Eq:
		if name, is, ok := a.boolean(e); ok {
			return name + " is " + strconv.FormatBool(is)
		}
		if v, ok := a.member(e.Left, e.Right.Value); ok && e.Right.What == image.Constant {
			return a.name(e.Left) + " == " + v
		}
	case image.In:
		var set []string
		for _, v := range e.Set {
			m, ok := a.member(e.Left, v)
			if !ok {
				return eval.Show(a.Image, a.road.Question.Message, e)
			}
			set = append(set, m)
		}
		return a.name(e.Left) + " in [" + strings.Join(set, ", ") + "]"
	}
	return eval.Show(a.Image, a.road.Question.Message, e)
}

// boolean takes apart a condition that compares a bool with a constant.
func (a *answerer) boolean(e *image.Expr) (name string, is, ok bool) {
	if e.Op != image.Eq || e.Left.What != image.Scalar || e.Right.What != image.Constant {
		return "", false, false
	}
	fd := a.field(e.Left.Path)
	if fd == nil || fd.Kind() != protoreflect.BoolKind {
		return "", false, false
	}
	return a.name(e.Left), e.Right.Value.Long != 0, true
}

// member names a value of an enum, as policies do.
func (a *answerer) member(o image.Operand, v image.Value) (string, bool) {
	fd := a.field(o.Path)
	if o.What != image.Scalar || fd == nil || fd.Kind() != protoreflect.EnumKind {
		return "", false
	}
	if m := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(v.Long)); m != nil {
		return strconv.Quote(string(m.Name())), true
	}
	return "", false
}
