package cases

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/goccy/go-yaml/ast"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/internal/yamltext"
	"ward/policy/prove"
)

type descriptor = protoreflect.MessageDescriptor

const anyDomain = abi.NoDomain

// arguments turns `args` and `when` into conditions on a message.
type arguments struct {
	*reader
	conditions bool // in, not_in, at_least, at_most may be written: `when`
	opened     bool // the messages are items of a client's stream
	misfits    bool // what the signature does not have is meant so
	misfit     bool // there is some
	given      []image.Expr
}

var never = image.Expr{Op: image.False}

func not(e image.Expr) image.Expr { return image.Expr{Op: image.Not, Args: []image.Expr{e}} }

// message reads the fields of a message at a path.
func (a *arguments) message(v value, m *image.Message, d descriptor, at []uint32) bool {
	good := true
	return a.mapping(v, func(key string, e value) {
		if len(at) == 0 && key == "ward" {
			good = a.ward(e) && good
			return
		}
		i := slices.IndexFunc(m.Fields, func(f image.Field) bool { return f.Name == key })
		if i >= 0 && m.Name == image.HandleName && m.Fields[i].Number == image.HandleID {
			a.out.Errorf(e.pos, "leave it out: policies see kind, size and write", "%s: the number of a handle is not known before it is offered", e.what)
			good = false
			return
		}
		if i >= 0 {
			f := &m.Fields[i]
			good = a.field(e, f, d.Fields().ByNumber(protoreflect.FieldNumber(f.Number)), append(slices.Clip(at), f.Number)) && good
			return
		}
		if a.misfits {
			a.misfit = true
			return
		}
		var known []string
		for _, f := range m.Fields {
			known = append(known, f.Name)
		}
		fix := diag.Suggest(key, known)
		if fix == "" && len(known) > 0 {
			fix = "its fields are " + strings.Join(known, ", ")
		}
		a.out.Errorf(e.pos, fix, "%s has no field %q", m.Name, short(key))
		good = false
	}) && good
}

// wrong reports a value that does not fit its type, unless that is meant.
func (a *arguments) wrong(v value, want string) bool {
	if a.misfits {
		a.misfit = true
		return true
	}
	a.mismatch(v, want)
	return false
}

// give adds a condition on a field; one that may be absent has to be there.
func (a *arguments) give(f *image.Field, p []uint32, e image.Expr) {
	if f.Card == image.Optional {
		e = image.Expr{Op: image.And, Args: []image.Expr{{Op: image.Has, Path: p}, e}}
	}
	a.given = append(a.given, e)
}

func (a *arguments) field(v value, f *image.Field, fd protoreflect.FieldDescriptor, p []uint32) bool {
	if _, null := v.node.(*ast.NullNode); null {
		if f.Card != image.Optional {
			a.out.Errorf(v.pos, "write its value, or leave it out for any", "%s is never absent", f.Name)
			return false
		}
		a.given = append(a.given, not(image.Expr{Op: image.Has, Path: p}))
		return true
	}
	switch {
	case f.Card == image.Repeated:
		return a.repeated(v, f, fd, p)
	case f.Type == image.Nested:
		a.given = append(a.given, image.Expr{Op: image.Has, Path: p})
		return a.message(v, &a.img.Messages[f.Message], fd.Message(), p)
	case f.Type == image.Bytes:
		if _, ok := yamltext.Entries(v.node); !ok {
			return a.wrong(v, "a mapping with the size: {size: 4096}")
		}
		g, _ := a.object(v, "size")
		size, ok := g["size"]
		if !ok {
			a.out.Errorf(v.pos, "write {size: 4096}", "%s has no size", v.what)
			return false
		}
		return a.scalar(size, f, image.Operand{What: image.Size, Path: p}, a.number)
	case f.Type == image.Float || f.Type == image.Double:
		a.out.Errorf(v.pos, "leave it out", "%s: policies do not see %s, a floating-point number", v.what, f.Name)
		return false
	}
	return a.scalar(v, f, image.Operand{What: image.Scalar, Path: p}, a.literal(f, fd))
}

// repeated reads {count: N} or {values: [...]}.
func (a *arguments) repeated(v value, f *image.Field, fd protoreflect.FieldDescriptor, p []uint32) bool {
	if _, ok := yamltext.Entries(v.node); !ok {
		return a.wrong(v, "a mapping with the count or the values: {count: 2}")
	}
	g, _ := a.object(v, "count", "values")
	count := image.Operand{What: image.Count, Path: p}
	if n, ok := g["count"]; ok && !a.scalar(n, f, count, a.number) {
		return false
	}
	values, ok := g["values"]
	if !ok {
		return true
	}
	list, ok := a.list(values)
	if !ok {
		return false
	}
	if f.Type == image.Nested || f.Type == image.Bytes || f.Type == image.Float || f.Type == image.Double {
		a.out.Errorf(values.pos, "write {count: N}", "%s: the values of %s cannot be written", v.what, f.Name)
		return false
	}
	a.given = append(a.given, image.Expr{Op: image.Eq, Left: count, Right: image.Operand{Value: image.Value{Long: int64(len(list))}}})
	element := *f
	element.Card, element.Required = image.Optional, false
	read := a.literal(f, fd)
	var elements []image.Value
	for _, e := range list {
		x, ok := read(e)
		if !ok {
			return false
		}
		if !a.within(&element, x) {
			a.given = append(a.given, never)
			continue
		}
		elements = append(elements, x)
	}
	a.given = append(a.given, elementsAre(p, elements)...)
	return true
}

// within asks whether a value alone is within the bounds of a field.
func (a *arguments) within(f *image.Field, v image.Value) bool {
	img := &image.Image{Messages: []image.Message{{Name: "element", Fields: []image.Field{*f}}}}
	e := image.Expr{Op: image.Eq, Left: image.Operand{What: image.Scalar, Path: []uint32{f.Number}}, Right: image.Operand{Value: v}}
	_, answer := prove.Ask(&prove.Question{Image: img, Message: &img.Messages[0], Want: anyVerdict,
		Given: []image.Expr{{Op: image.Has, Path: []uint32{f.Number}}, e}})
	return answer == prove.Found
}

func anyVerdict(image.Verdict) bool { return true }

// literal returns what reads one value of a field. It reports false after a
// finding; a misfit that is meant is a value of no account.
func (a *arguments) literal(f *image.Field, fd protoreflect.FieldDescriptor) func(value) (image.Value, bool) {
	return func(v value) (image.Value, bool) {
		switch f.Type {
		case image.String:
			t, ok := v.node.(*ast.StringNode)
			if l, is := v.node.(*ast.LiteralNode); is {
				t, ok = l.Value, true
			}
			if !ok {
				return image.Value{}, a.wrong(v, "text; put it in quotes")
			}
			return image.Value{IsString: true, String: t.Value}, true
		case image.Bool:
			b, ok := v.node.(*ast.BoolNode)
			if !ok {
				return image.Value{}, a.wrong(v, "true or false")
			}
			if b.Value {
				return image.Value{Long: 1}, true
			}
			return image.Value{}, true
		case image.Enum:
			if name, ok := v.node.(*ast.StringNode); ok {
				return a.enum(v, name.Value, fd.Enum())
			}
		}
		return a.number(v)
	}
}

func (a *arguments) enum(v value, name string, d protoreflect.EnumDescriptor) (image.Value, bool) {
	if e := d.Values().ByName(protoreflect.Name(name)); e != nil {
		return image.Value{Long: int64(e.Number())}, true
	}
	var known []string
	for i := range d.Values().Len() {
		known = append(known, string(d.Values().Get(i).Name()))
	}
	a.out.Errorf(v.pos, diag.Suggest(name, known), "%s has no value %q", d.FullName(), short(name))
	return image.Value{}, false
}

func (a *arguments) number(v value) (image.Value, bool) {
	x, _, _ := yamltext.Scalar(v.node)
	switch x := x.(type) {
	case int64:
		return image.Value{Long: x}, true
	case uint64:
		if x <= math.MaxInt64 {
			return image.Value{Long: int64(x)}, true
		}
		a.out.Errorf(v.pos, "", "%s: numbers above 2^63-1 cannot be tested", v.what)
		return image.Value{}, false
	}
	return image.Value{}, a.wrong(v, "a whole number")
}

// scalar reads one value, or, in `when`, a condition.
func (a *arguments) scalar(v value, f *image.Field, o image.Operand, read func(value) (image.Value, bool)) bool {
	if _, mapping := yamltext.Entries(v.node); mapping && !a.misfits {
		if !a.conditions {
			a.out.Errorf(v.pos, "write one value; conditions stand in `when`", "%s is a mapping", v.what)
			return false
		}
		return a.condition(v, f, o, read)
	}
	x, ok := read(v)
	if ok && !a.misfit {
		a.give(f, o.Path, image.Expr{Op: image.Eq, Left: o, Right: image.Operand{Value: x}})
	}
	return ok
}

// condition reads {in: [...]}, {not_in: [...]}, {at_least: N}, {at_most: N}. A
// parameter that is absent is in nothing, so that not_in holds of it.
func (a *arguments) condition(v value, f *image.Field, o image.Operand, read func(value) (image.Value, bool)) bool {
	g, ok := a.object(v, "in", "not_in", "at_least", "at_most")
	if !ok {
		return false
	}
	if len(g) == 0 {
		a.out.Errorf(v.pos, "write {in: […]}, {not_in: […]}, {at_least: N} or {at_most: N}", "%s is empty", v.what)
		return false
	}
	for _, key := range []string{"in", "not_in"} {
		e, there := g[key]
		if !there {
			continue
		}
		list, ok := a.list(e)
		if !ok {
			return false
		}
		some := image.Expr{Op: image.Or, Args: []image.Expr{never}}
		for _, w := range list {
			x, ok := read(w)
			if !ok {
				return false
			}
			some.Args = append(some.Args, image.Expr{Op: image.Eq, Left: o, Right: image.Operand{Value: x}})
		}
		if f.Card == image.Optional {
			some = image.Expr{Op: image.And, Args: []image.Expr{{Op: image.Has, Path: o.Path}, some}}
		}
		if key == "not_in" {
			some = not(some)
		}
		a.given = append(a.given, some)
	}
	for _, key := range []string{"at_least", "at_most"} {
		e, there := g[key]
		if !there {
			continue
		}
		if o.What == image.Scalar && (f.Type == image.String || f.Type == image.Bool || f.Type == image.Enum) {
			a.out.Errorf(e.pos, "use in or not_in", "%s: %s is no number", e.what, f.Name)
			return false
		}
		x, ok := a.number(e)
		if !ok {
			return false
		}
		c := image.Operand{Value: x}
		if key == "at_least" {
			a.give(f, o.Path, image.Expr{Op: image.LessEq, Left: c, Right: o})
		} else {
			a.give(f, o.Path, image.Expr{Op: image.LessEq, Left: o, Right: c})
		}
	}
	return true
}
