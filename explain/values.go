package explain

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/policy/eval"
	"ward/policy/prove"
)

// operands adds the parameters that a condition looks at.
func operands(e *image.Expr, list []image.Operand) []image.Operand {
	add := func(o image.Operand) {
		if !slices.ContainsFunc(list, func(x image.Operand) bool {
			return x.What == o.What && x.Cell == o.Cell && slices.Equal(x.Path, o.Path)
		}) {
			list = append(list, o)
		}
	}
	if e.Op == image.Has {
		add(image.Operand{What: image.Constant, Path: e.Path}) // its presence
	}
	for _, o := range []image.Operand{e.Left, e.Right} {
		if o.What != image.Constant {
			add(image.Operand{What: o.What, Path: o.Path, Cell: o.Cell})
		}
	}
	for i := range e.Args {
		list = operands(&e.Args[i], list)
	}
	return list
}

// values shows what an example has for parameters.
func (a *answerer) values(list []image.Operand, e *prove.Example) []Value {
	var res []Value
	for _, o := range list {
		if v, ok := a.value(o, e); ok && !slices.ContainsFunc(res, func(w Value) bool { return w.Name == v.Name }) {
			res = append(res, v)
		}
	}
	return res
}

// value shows one. A presence is shown only if the parameter is absent, or
// nothing else is known of it.
func (a *answerer) value(o image.Operand, e *prove.Example) (Value, bool) {
	if o.What == image.CellValue {
		return a.cell(o.Cell, e)
	}
	v := Value{Name: a.name(o), Any: !a.said(o.Path)}
	for _, x := range e.Values {
		if x.What != o.What || !slices.Equal(x.Path, o.Path) {
			continue
		}
		switch {
		case !x.Present:
			v.Value = "null"
		case x.What == image.Constant:
			if slices.ContainsFunc(e.Values, func(y prove.Value) bool { return y.What != image.Constant && slices.Equal(y.Path, x.Path) }) {
				return v, false
			}
			v.Value = "present"
		case x.IsText:
			v.Value = strconv.Quote(x.Text)
		default:
			v.Value = a.number(o, x.Long)
		}
		return v, true
	}
	return v, false
}

// cell shows what an example has in a cell of state.
func (a *answerer) cell(cell uint32, e *prove.Example) (Value, bool) {
	for _, c := range e.Cells {
		if c.Cell == cell {
			return Value{Name: eval.Cell(a.Image, cell), Value: eval.Value(a.Image, cell, c.Value), Any: len(a.road.Question.Cells[cell]) != 1}, true
		}
	}
	return Value{}, false
}

// said reports whether the question gives a parameter.
func (a *answerer) said(path []uint32) bool {
	given := a.road.Question.Given
	return slices.ContainsFunc(given[a.road.Client:], func(e image.Expr) bool {
		return slices.ContainsFunc(operands(&e, nil), func(o image.Operand) bool { return slices.Equal(o.Path, path) })
	})
}

// field finds the descriptor of a parameter.
func (a *answerer) field(path []uint32) protoreflect.FieldDescriptor {
	if image.IsMetadata(path) {
		return nil
	}
	d := a.road.Type
	var fd protoreflect.FieldDescriptor
	for _, n := range path {
		if d == nil {
			return nil
		}
		if fd = d.Fields().ByNumber(protoreflect.FieldNumber(n)); fd == nil {
			return nil
		}
		d = fd.Message()
	}
	return fd
}

func (a *answerer) name(o image.Operand) string {
	var parts []string
	if image.IsMetadata(o.Path) {
		parts = append(parts, a.Image.PathName(nil, o.Path))
	}
	for i := range o.Path {
		if fd := a.field(o.Path[:i+1]); fd != nil {
			parts = append(parts, string(fd.Name()))
		}
	}
	switch o.What {
	case image.Size:
		parts = append(parts, "size")
	case image.Count:
		parts = append(parts, "count")
	}
	return strings.Join(parts, ".")
}

func (a *answerer) number(o image.Operand, n int64) string {
	if fd := a.field(o.Path); fd != nil && o.What == image.Scalar {
		switch fd.Kind() {
		case protoreflect.BoolKind:
			return strconv.FormatBool(n != 0)
		case protoreflect.EnumKind:
			if v := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(n)); v != nil {
				return string(v.Name())
			}
		}
	}
	return strconv.FormatInt(n, 10)
}

// clientOf is the client that an example assumes.
func (a *answerer) clientOf(e *prove.Example) eval.Client {
	q := &a.road.Question
	in := func(said, example map[uint32]bool, atom uint32) bool {
		if v, ok := said[atom]; ok {
			return v
		}
		return example[atom]
	}
	return eval.Client{User: func(u uint32) bool { return q.Users[u] }, Member: func(g uint32) bool { return in(q.Groups, e.Groups, g) }}
}

func holds(e *image.Expr, args *prove.Example, client eval.Client) bool {
	return eval.Holds(e, args, client)
}

// missing lists the parts of a condition that fail: of a conjunction those
// operands that do, else the whole.
func (a *answerer) missing(e *image.Expr, args *prove.Example, client eval.Client) []Term {
	if holds(e, args, client) {
		return nil
	}
	if e.Op == image.And {
		var all []Term
		for i := range e.Args {
			all = append(all, a.missing(&e.Args[i], args, client)...)
		}
		return all
	}
	text := a.show(e)
	if strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") && (e.Op == image.Or || e.Op == image.If) {
		text = text[1 : len(text)-1]
	}
	return []Term{{Condition: text, Saw: a.values(operands(e, nil), args)}}
}

// show writes a condition: a test of a Boolean or an enum by itself as a policy
// does, all else as eval.Show does.
func (a *answerer) show(e *image.Expr) string {
	test, not := e, ""
	if e.Op == image.Not {
		test, not = &e.Args[0], "!"
	}
	o, c := test.Left, test.Right
	if test.Op == image.Eq && o.What == image.Scalar && c.What == image.Constant && !c.Value.IsString {
		switch v := a.number(o, c.Value.Long); {
		case v == "true":
			return not + a.name(o)
		case v == "false":
			return map[string]string{"": "!", "!": ""}[not] + a.name(o)
		case v != strconv.FormatInt(c.Value.Long, 10) && not == "":
			return a.name(o) + " == " + v
		}
	}
	return eval.Show(a.Image, a.road.Question.Message, e)
}
