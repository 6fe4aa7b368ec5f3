package interfaces

import (
	"math"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"ward/abi"
	"ward/diag"
	"ward/image"
)

// builder turns descriptors into the form of the image.
type builder struct {
	set   *Set
	src   *sources
	out   *diag.List
	index map[protoreflect.FullName]*entry

	level   int                              // of the message being built; the body is 1
	files   map[string]bool                  // noted by define
	defined map[protoreflect.FullName]string // top-level declarations and their files
}

// An entry is a message that has been seen.
type entry struct {
	index uint32
	open  bool   // its fields are being built: meeting it again is recursion
	bad   bool   // refused; not refused again
	depth int    // levels, itself included
	size  uint64 // largest encoding within the bounds, bytes
	walk  work   // most work for the filter, that of nested messages included

	handle bool // some field of it, or below, is a handle
}

// file adds the services of a file, and their messages.
func (b *builder) file(f protoreflect.FileDescriptor) {
	b.define(f)
	for i := range f.Services().Len() {
		b.service(f.Services().Get(i))
	}
}

// define notes what a file and its imports declare. Files are compiled one by
// one, so that this is where a name in two of them is found: names are global.
func (b *builder) define(f protoreflect.FileDescriptor) {
	if b.files[f.Path()] {
		return
	}
	b.files[f.Path()] = true
	for i := range f.Imports().Len() {
		b.define(f.Imports().Get(i).FileDescriptor)
	}
	if p := string(f.Package()); !builtin(f.Path()) && (p == "ward" || strings.HasPrefix(p, "ward.")) {
		b.out.Errorf(diag.Pos{File: f.Path(), Line: 1, Column: 1}, "rename the package", "the package %s is Ward's own", p)
		return
	}
	declare := func(d protoreflect.Descriptor) {
		first, twice := b.defined[d.FullName()]
		if twice {
			b.out.Errorf(b.pos(d, diag.Pos{File: f.Path(), Line: 1, Column: 1}), "rename one of them", "%s is declared in %s, too", d.FullName(), first)
			return
		}
		b.defined[d.FullName()] = f.Path()
	}
	for i := range f.Messages().Len() {
		declare(f.Messages().Get(i))
	}
	for i := range f.Enums().Len() {
		declare(f.Enums().Get(i))
	}
	for i := range f.Services().Len() {
		declare(f.Services().Get(i))
	}
	for i := range f.Extensions().Len() {
		declare(f.Extensions().Get(i))
	}
}

func (b *builder) service(s protoreflect.ServiceDescriptor) {
	if b.defined[s.FullName()] != s.ParentFile().Path() {
		return // refused by define
	}
	at := b.pos(s, diag.Pos{File: s.ParentFile().Path(), Line: 1, Column: 1})
	b.set.Pos[s.FullName()] = at
	if s.ParentFile().Package() == "" {
		b.out.Errorf(at, "add `package name.v1;` to the file", "the service %s is in no package: the package is its namespace in policies", s.Name())
		return
	}
	if n := s.Methods().Len(); n > image.MaxMethods {
		b.out.Errorf(at, "split the service", "the service %s has %d methods; the limit is %d", s.FullName(), n, image.MaxMethods)
		return
	}
	iface := image.Interface{Name: string(s.FullName())}
	for i := range s.Methods().Len() { // in the order of declaration: the ordinals on the wire
		m := s.Methods().Get(i)
		at := b.pos(m, at)
		b.set.Pos[m.FullName()] = at
		b.bare(m, at)
		iface.Methods = append(iface.Methods, image.Method{
			Name:         string(m.Name()),
			ClientStream: m.IsStreamingClient(),
			ServerStream: m.IsStreamingServer(),
			Request:      b.message(m.Input(), at).index,
			Reply:        b.message(m.Output(), at).index,
		})
	}
	b.set.Interfaces = append(b.set.Interfaces, iface)
	b.set.Services = append(b.set.Services, s)
}

// pos returns the place of a declaration, or other for what is built in.
func (b *builder) pos(d protoreflect.Descriptor, other diag.Pos) diag.Pos {
	path := d.ParentFile().Path()
	loc := d.ParentFile().SourceLocations().ByDescriptor(d)
	if builtin(path) || loc.Path == nil {
		return other
	}
	return b.src.at(path, loc.StartLine+1, loc.StartColumn+1)
}

// message adds m and what is nested in it, once. at is where m is used.
func (b *builder) message(m protoreflect.MessageDescriptor, at diag.Pos) *entry {
	if e, ok := b.index[m.FullName()]; ok {
		return e
	}
	b.level++
	defer func() { b.level-- }()
	e := &entry{index: uint32(len(b.set.Messages)), open: true}
	b.index[m.FullName()] = e
	b.set.Messages = append(b.set.Messages, image.Message{Name: string(m.FullName())})
	b.set.MessageTypes = append(b.set.MessageTypes, m)
	at = b.pos(m, at)
	b.set.Pos[m.FullName()] = at
	rules := messageRules(m)
	b.messageRules(m, rules, at)

	fields := m.Fields()
	if fields.Len() > abi.MaxFields {
		b.refuse(e, at, "move some of them into a nested message", "the message %s has %d fields; the limit is %d", m.FullName(), fields.Len(), abi.MaxFields)
	}
	if m.ExtensionRanges().Len() > 0 {
		b.refuse(e, at, "remove the extension range", "the message %s can be extended: the kernel has to know every field", m.FullName())
	}
	ordered := make([]protoreflect.FieldDescriptor, fields.Len())
	for i := range ordered {
		ordered[i] = fields.Get(i)
	}
	slices.SortFunc(ordered, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	msg := image.Message{Name: string(m.FullName())}
	e.depth = 1
	var built []*fieldInfo
	for _, fd := range ordered {
		if f := b.field(e, fd, rules, b.pos(fd, at)); f != nil {
			msg.Fields = append(msg.Fields, f.Field)
			built = append(built, f)
		}
	}
	msg.Required = requiredOneofs(m, msg.Fields)
	if n := len(msg.Required); n > abi.MaxOneofs {
		b.refuse(e, at, "move some of them into a nested message", "the message %s has %d required oneofs; the limit is %d", m.FullName(), n, abi.MaxOneofs)
	}
	if e.depth > abi.MaxDepth && !e.bad {
		b.refuse(e, at, "flatten the messages", "the message %s nests %d deep; the limit is %d", m.FullName(), e.depth, abi.MaxDepth)
	}
	b.measure(e, m, built, at)
	e.open = false
	b.set.Messages[e.index] = msg
	return e
}

// refuse reports an error about the message of e, and that it has one.
func (b *builder) refuse(e *entry, at diag.Pos, fix, format string, args ...any) {
	b.out.Errorf(at, fix, format, args...)
	e.bad = true
}

// requiredOneofs lists the oneofs that protovalidate says are required.
func requiredOneofs(m protoreflect.MessageDescriptor, fields []image.Field) []image.Oneof {
	var required []image.Oneof
	for i := range m.Oneofs().Len() {
		o := m.Oneofs().Get(i)
		if o.IsSynthetic() || !oneofRequired(o) {
			continue
		}
		group := image.Oneof{Name: string(o.Name())}
		for j, f := range fields {
			if f.Oneof == uint32(i)+1 {
				group.Fields = append(group.Fields, uint32(j))
			}
		}
		if len(group.Fields) > 0 {
			required = append(required, group)
		}
	}
	return required
}

// reparse returns options with protovalidate's extensions as Go types,
// whatever types the compiler gave them.
func reparse[M proto.Message](options protoreflect.ProtoMessage, into M) M {
	data, err := proto.Marshal(options)
	if err == nil {
		err = proto.Unmarshal(data, into)
	}
	if err != nil {
		panic("options that were just compiled: " + err.Error())
	}
	return into
}

func messageRules(m protoreflect.MessageDescriptor) *validate.MessageRules {
	o := reparse(m.Options(), &descriptorpb.MessageOptions{})
	return proto.GetExtension(o, validate.E_Message).(*validate.MessageRules)
}

func fieldRules(f protoreflect.FieldDescriptor) *validate.FieldRules {
	o := reparse(f.Options(), &descriptorpb.FieldOptions{})
	return proto.GetExtension(o, validate.E_Field).(*validate.FieldRules)
}

func oneofRequired(d protoreflect.OneofDescriptor) bool {
	o := reparse(d.Options(), &descriptorpb.OneofOptions{})
	return proto.GetExtension(o, validate.E_Oneof).(*validate.OneofRules).GetRequired()
}

var types = map[protoreflect.Kind]image.Type{
	protoreflect.Int32Kind: image.Int32, protoreflect.Int64Kind: image.Int64,
	protoreflect.Uint32Kind: image.Uint32, protoreflect.Uint64Kind: image.Uint64,
	protoreflect.Sint32Kind: image.Sint32, protoreflect.Sint64Kind: image.Sint64,
	protoreflect.Fixed32Kind: image.Fixed32, protoreflect.Fixed64Kind: image.Fixed64,
	protoreflect.Sfixed32Kind: image.Sfixed32, protoreflect.Sfixed64Kind: image.Sfixed64,
	protoreflect.BoolKind: image.Bool, protoreflect.EnumKind: image.Enum,
	protoreflect.FloatKind: image.Float, protoreflect.DoubleKind: image.Double,
	protoreflect.StringKind: image.String, protoreflect.BytesKind: image.Bytes,
	protoreflect.MessageKind: image.Nested,
}

// fieldInfo is a field with what its message needs to measure itself.
type fieldInfo struct {
	image.Field
	fd     protoreflect.FieldDescriptor
	at     diag.Pos
	nested *entry
}

// field builds one field; nil after a finding.
func (b *builder) field(e *entry, fd protoreflect.FieldDescriptor, msgRules *validate.MessageRules, at diag.Pos) *fieldInfo {
	b.set.Pos[fd.FullName()] = at
	f := &fieldInfo{fd: fd, at: at, Field: image.Field{Number: uint32(fd.Number()), Name: string(fd.Name()), Type: types[fd.Kind()]}}
	switch {
	case fd.IsMap():
		b.refuse(e, at, "use a repeated message with a key and a value", "%s is a map: senders and readers disagree on duplicate keys", fd.FullName())
		return nil
	case fd.Kind() == protoreflect.GroupKind:
		b.refuse(e, at, "use a message with length-prefixed encoding", "%s is a group (delimited encoding)", fd.FullName())
		return nil
	case fd.Cardinality() == protoreflect.Required:
		b.refuse(e, at, "use optional with (buf.validate.field).required = true", "%s is a required field of proto2", fd.FullName())
		return nil
	case fd.IsList():
		f.Card = image.Repeated
	case fd.HasPresence():
		f.Card = image.Optional
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.Oneof = uint32(o.Index()) + 1
	}
	if f.Type == image.Nested && !b.nested(e, f) {
		return nil
	}
	r := rules{b: b, f: f}
	r.apply(fieldRules(fd), msgRules)
	if r.failed {
		e.bad = true
	}
	return f
}

// nested builds the message of a field. It goes no deeper than what is
// refused, however long the chain.
func (b *builder) nested(e *entry, f *fieldInfo) bool {
	if _, seen := b.index[f.fd.Message().FullName()]; !seen && b.level >= abi.MaxDepth {
		b.refuse(e, f.at, "flatten the messages", "%s: messages nest more than %d deep here", f.fd.FullName(), abi.MaxDepth)
		return false
	}
	n := b.message(f.fd.Message(), f.at)
	if n.open {
		b.refuse(e, f.at, "break the cycle, or pass the nested part as bytes of a stated length", "%s: the message %s contains itself: the kernel walks to a stated depth only", f.fd.FullName(), f.fd.Message().FullName())
		return false
	}
	e.bad = e.bad || n.bad
	f.nested, f.Message = n, n.index
	f.MaxLen = uint32(min(n.size, math.MaxUint32))
	e.depth = max(e.depth, n.depth+1)
	return b.handle(e, f)
}
