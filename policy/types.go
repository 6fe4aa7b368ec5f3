package policy

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/interfaces"
	"ward/policy/internal/syntax"
)

// kind is a type of Cedar.
type kind uint8

const (
	anyKind kind = iota // of an expression that is already reported as wrong
	boolean
	long
	text
	entity
	record
	set
	extension
)

// A typ is the type of an expression, with what Ward knows beyond Cedar.
type typ struct {
	kind kind
	name string // entity, extension: its name; record: how messages name it
	elem *typ   // set
	rec  *fields
	// names, if not nil, are the only values that a String has: an enum's, or the system's interfaces.
	names *closed
	// known is set for a Boolean whose value follows from the types alone.
	known *bool
	field string // the parameter that it is the type of, for messages
}

// closed is a set of names that a String parameter takes.
type closed struct {
	what    string // "enum pkg.Format", "interface"
	names   []string
	numbers map[string]int64 // of enum values
	aliases map[string]string
}

// fields are the attributes of a record.
type fields struct {
	attrs map[string]*attr
	order []string
}

// An attr is an attribute: of an entity, or of a message.
type attr struct {
	name     string
	typ      *typ
	optional bool
	number   uint32     // field number; 0 for count, size and attributes of entities
	what     image.What // how the attribute is read, if it is a scalar
	state    uint32     // CellValue: index into Image.States
	beside   bool       // leads to the metadata beside the message
	left     string     // not part of the context: why
	instead  string     // what to write instead of what is left out
}

var (
	boolType = &typ{kind: boolean}
	longType = &typ{kind: long}
	textType = &typ{kind: text}
	anyType  = &typ{kind: anyKind}
)

func knownBool(b bool) *typ { return &typ{kind: boolean, known: &b} }

func entityType(name string) *typ { return &typ{kind: entity, name: name} }

func recordType(name string, attrs ...*attr) *typ {
	r := &fields{attrs: map[string]*attr{}}
	for _, a := range attrs {
		r.add(a)
	}
	return &typ{kind: record, name: name, rec: r}
}

func (f *fields) add(a *attr) {
	f.attrs[a.name] = a
	f.order = append(f.order, a.name)
}

// names are the attributes that a policy may use.
func (f *fields) names() []string {
	var res []string
	for _, n := range f.order {
		if f.attrs[n].left == "" {
			res = append(res, n)
		}
	}
	return res
}

// is reports whether t is of kind k, or already reported as wrong.
func (t *typ) is(k kind) bool { return t.kind == k || t.kind == anyKind }

func (t *typ) String() string {
	switch t.kind {
	case boolean:
		return "Bool"
	case long:
		return "Long"
	case text:
		return "String"
	case entity, extension:
		return t.name
	case set:
		return "Set<" + t.elem.String() + ">"
	case record:
		var b strings.Builder
		b.WriteByte('{')
		for i, n := range t.rec.names() {
			if i > 0 {
				b.WriteString(", ")
			}
			a := t.rec.attrs[n]
			b.WriteString(attrName(n))
			if a.optional {
				b.WriteByte('?')
			}
			b.WriteString(": " + a.typ.String())
		}
		return b.String() + "}"
	}
	return "?"
}

func attrName(n string) string {
	if syntax.IsIdent(n) {
		return n
	}
	return quote(n)
}

// compatible reports whether values of a and b can be equal.
func compatible(a, b *typ) bool {
	if a.kind == anyKind || b.kind == anyKind {
		return true
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case set:
		return compatible(a.elem, b.elem)
	case extension:
		return a.name == b.name
	case record:
		for n, x := range a.rec.attrs {
			if y, ok := b.rec.attrs[n]; !ok || !compatible(x.typ, y.typ) {
				return false
			}
		}
		return len(a.rec.attrs) == len(b.rec.attrs)
	}
	return true
}

// messages makes the context types of messages.
type messages struct {
	set  *interfaces.Set
	gate *typ // the state of a gate
	keys *typ // metadata
	done map[uint32]*typ
}

// context is the type of the context of a message's action: the message,
// inlined, and the reserved attribute ward. opened says that the messages are
// items of a client's stream.
func (m *messages) context(index uint32, opened bool) *typ {
	t := m.message(index)
	c := recordType(t.name)
	for _, n := range t.rec.order {
		c.rec.add(t.rec.attrs[n])
	}
	if _, taken := c.rec.attrs["ward"]; !taken {
		c.rec.add(m.reserved(opened))
	}
	return c
}

func (m *messages) message(index uint32) *typ {
	if t, ok := m.done[index]; ok {
		return t
	}
	msg := &m.set.Messages[index]
	var desc protoreflect.MessageDescriptor
	if int(index) < len(m.set.MessageTypes) {
		desc = m.set.MessageTypes[index]
	}
	t := recordType(msg.Name)
	m.done[index] = t
	for i := range msg.Fields {
		f := &msg.Fields[i]
		var fd protoreflect.FieldDescriptor
		if desc != nil {
			fd = desc.Fields().ByNumber(protoreflect.FieldNumber(f.Number))
		}
		a := m.field(msg, f, fd)
		if msg.Name == image.HandleName && f.Number == image.HandleID {
			a.left, a.instead = "the number of an offer says nothing of the object", "decide on kind, size or write"
		}
		if msg.Name == image.HandleName && f.Number == image.HandleKind && a.typ.names != nil {
			no := func(n string) bool { return !slices.Contains(f.Values, a.typ.names.numbers[n]) }
			a.typ.names.names = slices.DeleteFunc(a.typ.names.names, no)
		}
		t.rec.add(a)
	}
	return t
}

func (m *messages) field(msg *image.Message, f *image.Field, fd protoreflect.FieldDescriptor) *attr {
	a := &attr{name: f.Name, number: f.Number, optional: f.Card == image.Optional && !f.Required}
	t := m.scalar(f, fd)
	if t == nil {
		a.typ, a.left = anyType, "float and double parameters are left out of the context (their bounds still hold)"
		return a
	}
	if f.Card == image.Repeated {
		a.typ = recordType(f.Name, &attr{name: "count", typ: &typ{kind: long, field: "the count of " + f.Name}, what: image.Count},
			&attr{name: "values", typ: &typ{kind: set, elem: t}})
		return a
	}
	c := *t
	c.field = typeNames[f.Type] + " in " + msg.Name
	a.typ, a.what = &c, image.Scalar
	return a
}

// scalar is the type of one element of a field; nil for what a context does not have.
func (m *messages) scalar(f *image.Field, fd protoreflect.FieldDescriptor) *typ {
	switch f.Type {
	case image.Float, image.Double:
		return nil
	case image.Bool:
		return boolType
	case image.String:
		return textType
	case image.Bytes:
		return recordType(f.Name, &attr{name: "size", typ: &typ{kind: long, field: "the size of " + f.Name}, what: image.Size})
	case image.Nested:
		return m.message(f.Message)
	case image.Enum:
		t := &typ{kind: text, names: &closed{what: "enum", numbers: map[string]int64{}, aliases: map[string]string{}}}
		if fd == nil || fd.Enum() == nil {
			return t
		}
		t.names.what = "enum " + string(fd.Enum().FullName())
		values := fd.Enum().Values()
		for i := range values.Len() {
			v := values.Get(i)
			first := values.ByNumber(v.Number())
			if first.Name() != v.Name() {
				t.names.aliases[string(v.Name())] = string(first.Name())
				continue
			}
			t.names.names = append(t.names.names, string(v.Name()))
			t.names.numbers[string(v.Name())] = int64(v.Number())
		}
		return t
	}
	return longType
}

// has reports whether s is one of the names.
func (c *closed) has(s string) bool { return slices.Contains(c.names, s) }

// typeNames are the protobuf names of types, by image.Type.
var typeNames = [...]string{image.Int32: "int32", image.Int64: "int64", image.Uint32: "uint32", image.Uint64: "uint64",
	image.Sint32: "sint32", image.Sint64: "sint64", image.Fixed32: "fixed32", image.Fixed64: "fixed64",
	image.Sfixed32: "sfixed32", image.Sfixed64: "sfixed64", image.Bool: "bool", image.Enum: "enum",
	image.Float: "float", image.Double: "double", image.String: "string", image.Bytes: "bytes", image.Nested: "message"}

// value names one of the names, for messages.
func (c *closed) value() string {
	if c.numbers == nil {
		return c.what
	}
	return "value of " + c.what
}
