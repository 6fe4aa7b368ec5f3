package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
)

// when is the condition of a policy that is proposed: it permits what was asked
// about, and no other arguments; "" if none were given, or if the question is
// about a whole interface. An argument that Cedar has no words for is left out.
func (a *answerer) when() string {
	var parts []string
	given := a.road.Question.Given[a.road.Client:]
	if a.whole {
		given = nil
	}
	for i := range given {
		if text, ok := a.cedar(&given[i]); ok && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	parts = append(parts, ringsOf(a.e.From, a.e.To)...)
	if len(parts) == 0 {
		return ""
	}
	return " when {\n  " + strings.Join(parts, " &&\n  ") + "\n}"
}

// cedar writes an argument as a condition of a policy.
func (a *answerer) cedar(e *image.Expr) (string, bool) {
	switch {
	case e.Op == image.Has && !image.IsMetadata(e.Path):
		return a.access(e.Path[:len(e.Path)-1]) + " has " + attribute(a.field(e.Path)), true
	case e.Op == image.Not && e.Args[0].Op == image.Has && !image.IsMetadata(e.Args[0].Path):
		text, _ := a.cedar(&e.Args[0])
		return "!(" + text + ")", true
	case e.Op == image.And:
		var parts []string
		for i := range e.Args {
			text, ok := a.cedar(&e.Args[i])
			if !ok {
				return "", false
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, " && "), true
	case e.Op != image.Eq || e.Right.What != image.Constant || e.Left.What == image.CellValue || image.IsMetadata(e.Left.Path):
		return "", false
	}
	fd, v, text := a.field(e.Left.Path), e.Right.Value, a.access(e.Left.Path)
	switch {
	case e.Left.What == image.Size:
		return fmt.Sprintf("%s.size == %d", text, v.Long), true
	case e.Left.What == image.Count:
		return fmt.Sprintf("%s.count == %d", text, v.Long), true
	case v.IsString:
		return text + " == " + cedarString(v.String), true
	case fd.Kind() == protoreflect.BoolKind && v.Long == 0:
		return "!" + text, true
	case fd.Kind() == protoreflect.BoolKind:
		return text, true
	case fd.Kind() == protoreflect.EnumKind:
		value := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(v.Long))
		if value == nil {
			return "", false
		}
		return text + " == " + cedarString(string(value.Name())), true
	}
	return fmt.Sprintf("%s == %d", text, v.Long), true
}

// access is how a policy reads a parameter.
func (a *answerer) access(path []uint32) string {
	text := "context"
	for i := range path {
		name := attribute(a.field(path[:i+1]))
		if strings.HasPrefix(name, `"`) {
			text += "[" + name + "]"
		} else {
			text += "." + name
		}
	}
	return text
}

// attribute is a field's name, in quotes if it is a word of Cedar.
func attribute(fd protoreflect.FieldDescriptor) string {
	name := string(fd.Name())
	if slices.Contains([]string{"true", "false", "if", "then", "else", "in", "like", "has", "is", "__cedar"}, name) {
		return strconv.Quote(name)
	}
	return name
}

// cedarString writes a text as Cedar reads it.
func cedarString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || !strconv.IsPrint(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
