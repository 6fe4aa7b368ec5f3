package eval

import (
	"fmt"
	"strconv"
	"strings"

	"ward/image"
)

// Show writes a condition in a form for people: paths as field numbers, or as
// names if m is the message that it is about.
func Show(img *image.Image, m *image.Message, e *image.Expr) string {
	return ShowWith(img, m, e, func(*image.Expr) (string, bool) { return "", false })
}

// ShowWith is Show, but for those parts of the condition for which say has words of
// its own: who calls may know of the interface what an image does not have.
func ShowWith(img *image.Image, m *image.Message, e *image.Expr, say func(*image.Expr) (string, bool)) string {
	s := shower{img, m, say}
	return s.expr(e)
}

type shower struct {
	img *image.Image
	m   *image.Message
	say func(*image.Expr) (string, bool)
}

func (s shower) expr(e *image.Expr) string {
	if text, ok := s.say(e); ok {
		return text
	}
	var args []string
	for i := range e.Args {
		args = append(args, s.expr(&e.Args[i]))
	}
	switch e.Op {
	case image.True:
		return "true"
	case image.False:
		return "false"
	case image.And:
		return "(" + strings.Join(args, " && ") + ")"
	case image.Or:
		return "(" + strings.Join(args, " || ") + ")"
	case image.Not:
		if strings.HasPrefix(args[0], "(") {
			return "!" + args[0]
		}
		return "!(" + args[0] + ")"
	case image.If:
		return "(if " + args[0] + " then " + args[1] + " else " + args[2] + ")"
	case image.Has:
		return "has(" + s.path(e.Path) + ")"
	case image.Eq:
		return s.operand(e.Left) + " == " + s.beside(e.Right, e.Left)
	case image.Less:
		return s.operand(e.Left) + " < " + s.operand(e.Right)
	case image.LessEq:
		return s.operand(e.Left) + " <= " + s.operand(e.Right)
	case image.In:
		var set []string
		for _, v := range e.Set {
			set = append(set, s.beside(image.Operand{Value: v}, e.Left))
		}
		return s.operand(e.Left) + " in [" + strings.Join(set, ", ") + "]"
	case image.Prefix:
		return s.operand(e.Left) + " starts with " + s.operand(e.Right)
	case image.Suffix:
		return s.operand(e.Left) + " ends with " + s.operand(e.Right)
	case image.Like, image.AnyIn, image.AnyOut:
		return s.showTest(e)
	case image.User:
		return "user(" + s.img.Users[e.Atom] + ")"
	case image.Group:
		return "group(" + s.img.Groups[e.Atom] + ")"
	}
	return fmt.Sprintf("op%d", e.Op)
}

func value(v image.Value) string {
	if v.IsString {
		return strconv.Quote(v.String)
	}
	return strconv.FormatInt(v.Long, 10)
}

func (s shower) operand(o image.Operand) string {
	switch o.What {
	case image.Constant:
		return value(o.Value)
	case image.CellValue:
		return Cell(s.img, o.Cell)
	case image.Size:
		return "size(" + s.path(o.Path) + ")"
	case image.Count:
		return "count(" + s.path(o.Path) + ")"
	}
	return s.path(o.Path)
}

func (s shower) path(path []uint32) string { return s.img.PathName(s.m, path) }

// beside writes an operand that is compared with another: a value of state by its name.
func (s shower) beside(o, other image.Operand) string {
	if o.What == image.Constant && other.What == image.CellValue {
		return strconv.Quote(Value(s.img, other.Cell, uint32(o.Value.Long)))
	}
	return s.operand(o)
}

// Cell names a cell as @enter and people do: gate.session, system.mode,
// clerk.session.
func Cell(img *image.Image, cell uint32) string {
	c := &img.Cells[cell]
	st := &img.States[c.State]
	switch st.Per {
	case image.PerGate:
		return "gate." + st.Name
	case image.PerSystem:
		return "system." + st.Name
	}
	return img.Domains[c.Domain].Name + "." + st.Name
}

// Value names a value of a cell.
func Value(img *image.Image, cell, value uint32) string {
	if values := img.States[img.Cells[cell].State].Values; int(value) < len(values) {
		return values[value]
	}
	return strconv.FormatUint(uint64(value), 10)
}
