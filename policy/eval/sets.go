package eval

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
)

// Elements is what Args have that know the elements of repeated parameters.
// Args without it have none.
type Elements interface {
	// Elements lists the elements of a repeated integer, bool, enum or string field.
	Elements(path []uint32) []image.Value
}

// Matches reports whether s consists of the texts in this order, with anything
// between them. Taking the leftmost place for each is right: what follows has
// most room then.
func Matches(s string, texts []image.Value) bool {
	first, last := texts[0].String, texts[len(texts)-1].String
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, t := range texts[1 : len(texts)-1] {
		i := strings.Index(s, t.String)
		if i < 0 {
			return false
		}
		s = s[i+len(t.String):]
	}
	return true
}

// anyOf evaluates AnyIn and AnyOut.
func anyOf(e *image.Expr, args Args) bool {
	a, ok := args.(Elements)
	if !ok {
		return false
	}
	return slices.ContainsFunc(a.Elements(e.Left.Path), func(v image.Value) bool {
		return slices.Contains(e.Set, v) == (e.Op == image.AnyIn)
	})
}

// Elements makes a decoded message know its elements.
func (m message) Elements(path []uint32) []image.Value {
	in, fd := m.at(path)
	if in == nil || !fd.IsList() {
		return nil
	}
	l := in.Get(fd).List()
	var res []image.Value
	for i := range l.Len() {
		res = append(res, valueOf(fd, l.Get(i)))
	}
	return res
}

func valueOf(fd protoreflect.FieldDescriptor, v protoreflect.Value) image.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return image.Value{IsString: true, String: v.String()}
	case protoreflect.BoolKind:
		if v.Bool() {
			return image.Value{Long: 1}
		}
		return image.Value{}
	case protoreflect.EnumKind:
		return image.Value{Long: int64(v.Enum())}
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return image.Value{Long: int64(v.Uint())}
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind, protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		return image.Value{Long: v.Int()}
	}
	return image.Value{}
}

// showTest writes what the operations of this file test.
func (s shower) showTest(e *image.Expr) string {
	var set []string
	for _, v := range e.Set {
		set = append(set, value(v))
	}
	list := "[" + strings.Join(set, ", ") + "]"
	switch e.Op {
	case image.Like:
		return s.operand(e.Left) + " is like " + strings.Join(set, "*")
	case image.AnyIn:
		return "some of " + s.operand(e.Left) + " in " + list
	}
	return "some of " + s.operand(e.Left) + " not in " + list
}
