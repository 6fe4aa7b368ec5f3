package difftest

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/policy/eval"
)

// What can be said of a condition before there is a message.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

// possible evaluates a condition of which only the user is known.
func (l *lane) possible(e *image.Expr) truth {
	of := func(v bool) truth {
		if v {
			return yes
		}
		return no
	}
	constant := func(o image.Operand) bool { return o.What == image.Constant }
	switch e.Op {
	case image.True, image.False, image.User, image.Group:
		return of(eval.Holds(e, nil, l.client()))
	case image.Not:
		return yes - l.possible(&e.Args[0])
	case image.And, image.Or:
		res := yes
		if e.Op == image.Or {
			res = no
		}
		for i := range e.Args {
			if t := l.possible(&e.Args[i]); e.Op == image.And {
				res = min(res, t)
			} else {
				res = max(res, t)
			}
		}
		return res
	case image.If:
		a, b := l.possible(&e.Args[1]), l.possible(&e.Args[2])
		switch c := l.possible(&e.Args[0]); {
		case c == yes || c == maybe && a == b:
			return a
		case c == no:
			return b
		}
		return maybe
	case image.Eq, image.Less, image.LessEq:
		if constant(e.Left) && constant(e.Right) {
			return of(eval.Holds(e, nil, eval.Client{}))
		}
	}
	return maybe
}

func hidden(m protoreflect.Message) bool {
	found := len(m.GetUnknown()) > 0
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				found = found || hidden(v.List().Get(i).Message())
			}
		default:
			found = found || hidden(v.Message())
		}
		return !found
	})
	return found
}
