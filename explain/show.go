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
	return eval.ShowWith(a.Image, a.road.Question.Message, e, a.say)
}

// say writes the conditions that look at bools and enums.
func (a *answerer) say(e *image.Expr) (string, bool) {
	switch e.Op {
	case image.Not:
		name, is, ok := a.boolean(&e.Args[0])
		return name + " is " + strconv.FormatBool(!is), ok
	case image.Eq:
		if name, is, ok := a.boolean(e); ok {
			return name + " is " + strconv.FormatBool(is), true
		}
		v, ok := a.member(e.Left, e.Right.Value)
		return a.name(e.Left) + " == " + v, ok && e.Right.What == image.Constant
	case image.In:
		var set []string
		for _, v := range e.Set {
			m, ok := a.member(e.Left, v)
			if !ok {
				return "", false
			}
			set = append(set, m)
		}
		return a.name(e.Left) + " in [" + strings.Join(set, ", ") + "]", true
	}
	return "", false
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
