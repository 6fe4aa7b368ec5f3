// Package eval evaluates decisions of an image in Go: the plain twin of the
// kernel's filters. Tests compare it with Cedar's authorizer on one side and
// with live filters on the other, and `ward test` and `ward explain` ask it.
//
// Invariants: pure; it reads a message only through Args; it never fails for
// a decision that image.Check accepts.
package eval

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/image"
)

// Args are the parameters of one message, by path of field numbers from the
// message down. Absent parameters are "", 0 and false.
type Args interface {
	Has(path []uint32) bool
	Long(path []uint32, what image.What) int64 // integers, bool as 0 or 1, enums as numbers, sizes, counts
	Text(path []uint32) string
}

// A Client is what is known of a user outside Ward. The zero value is nobody:
// no atom holds.
type Client struct {
	User   func(atom uint32) bool // the client is Image.Users[atom]
	Member func(atom uint32) bool // the client is in Image.Groups[atom]
}

// Decide applies a decision to a message, as a filter does: the first forbid
// that matches, else the first permit, else default deny. Policy is
// abi.NoPolicy for the latter. Conditions on state hold of args that have it
// (WithState); Judge is the whole of it, with effects.
func Decide(d *image.Decision, args Args, client Client) (v image.Verdict, audit bool) {
	for i := range d.Forbid {
		if Holds(&d.Forbid[i].When, args, client) {
			return image.Verdict{Policy: d.Forbid[i].Policy}, true
		}
	}
	for i := range d.Permit {
		if Holds(&d.Permit[i].When, args, client) {
			return image.Verdict{Allow: true, Policy: d.Permit[i].Policy}, d.Permit[i].Audit
		}
	}
	return image.Verdict{Policy: abi.NoPolicy}, true
}

// Holds evaluates one condition. It panics on an expression that image.Check
// refuses.
func Holds(e *image.Expr, args Args, client Client) bool {
	switch e.Op {
	case image.True:
		return true
	case image.False:
		return false
	case image.And:
		return !slices.ContainsFunc(e.Args, func(a image.Expr) bool { return !Holds(&a, args, client) })
	case image.Or:
		return slices.ContainsFunc(e.Args, func(a image.Expr) bool { return Holds(&a, args, client) })
	case image.Not:
		return !Holds(&e.Args[0], args, client)
	case image.If:
		if Holds(&e.Args[0], args, client) {
			return Holds(&e.Args[1], args, client)
		}
		return Holds(&e.Args[2], args, client)
	case image.Has:
		return args.Has(e.Path)
	case image.User:
		return client.User != nil && client.User(e.Atom)
	case image.Group:
		return client.Member != nil && client.Member(e.Atom)
	case image.In:
		return slices.ContainsFunc(e.Set, func(v image.Value) bool {
			return equal(e.Left, image.Operand{Value: v}, args)
		})
	case image.Eq:
		return equal(e.Left, e.Right, args)
	case image.Less:
		return long(e.Left, args) < long(e.Right, args)
	case image.LessEq:
		return long(e.Left, args) <= long(e.Right, args)
	case image.Prefix:
		return strings.HasPrefix(args.Text(e.Left.Path), e.Right.Value.String)
	case image.Suffix:
		return strings.HasSuffix(args.Text(e.Left.Path), e.Right.Value.String)
	case image.Like:
		return Matches(args.Text(e.Left.Path), e.Set)
	case image.AnyIn, image.AnyOut:
		return anyOf(e, args)
	}
	panic("expression that no image has")
}

func equal(l, r image.Operand, args Args) bool {
	if r.What == image.Constant && r.Value.IsString {
		return args.Text(l.Path) == r.Value.String
	}
	return long(l, args) == long(r, args)
}

func long(o image.Operand, args Args) int64 {
	switch o.What {
	case image.Constant:
		return o.Value.Long
	case image.CellValue:
		return cell(args, o.Cell)
	}
	return args.Long(o.Path, o.What)
}

// Message reads the parameters of a decoded message.
func Message(m protoreflect.Message) Args { return message{m} }

type message struct{ protoreflect.Message }

// at returns the message that holds the last field of a path, and the field;
// nil if a message on the way is absent or there is no such field.
func (m message) at(path []uint32) (protoreflect.Message, protoreflect.FieldDescriptor) {
	in := m.Message
	for i, n := range path {
		fd := in.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(n))
		if fd == nil {
			return nil, nil
		}
		if i == len(path)-1 {
			return in, fd
		}
		if fd.Message() == nil || fd.IsList() || !in.Has(fd) {
			return nil, nil
		}
		in = in.Get(fd).Message()
	}
	return nil, nil
}

func (m message) Has(path []uint32) bool {
	in, fd := m.at(path)
	return in != nil && in.Has(fd)
}

func (m message) Long(path []uint32, what image.What) int64 {
	in, fd := m.at(path)
	if in == nil {
		return 0
	}
	v := in.Get(fd)
	switch {
	case what == image.Count:
		return int64(v.List().Len())
	case what == image.Size:
		return int64(len(v.Bytes()))
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		if v.Bool() {
			return 1
		}
		return 0
	case protoreflect.EnumKind:
		return int64(v.Enum())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return int64(v.Uint())
	}
	return v.Int()
}

func (m message) Text(path []uint32) string {
	in, fd := m.at(path)
	if in == nil {
		return ""
	}
	return in.Get(fd).String()
}
