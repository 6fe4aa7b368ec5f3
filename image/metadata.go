package image

import (
	"fmt"
	"slices"
	"strings"
)

// Conditions look at the metadata beside a message by paths of two numbers:
// MetadataField, which no field of a message has, and the number of the key in
// the metadata section, from 1. So a path means one thing, whether it leads into
// the body or beside it, and everybody who keeps parameters by their paths keeps
// metadata as well.
//
// What a condition is about must not depend on who reads it. A key ending in
// "-bin" holds bytes, as in gRPC, and conditions see its size. Any other that a
// condition of a gate looks at is a String to all of that gate's messages, of
// each method and both ways: it must be UTF-8. Else one method would admit
// bytes that another refuses, and two programs could read them differently. The
// keys that no condition of a gate looks at are bytes there, and not looked into.

// MetadataField is the first number of a path that leads to metadata.
const MetadataField = 0

// MetadataName is what stands for MetadataField in the names of parameters.
const MetadataName = "ward.metadata"

// MetadataPath is the path of key i of Image.Metadata.
func MetadataPath(i int) []uint32 { return []uint32{MetadataField, uint32(i) + 1} }

// IsMetadata reports whether a path leads to metadata.
func IsMetadata(path []uint32) bool { return len(path) > 0 && path[0] == MetadataField }

// Type is that of the key's values to a condition: String, or Bytes.
func (m *Metadata) Type() Type {
	if strings.HasSuffix(m.Key, "-bin") {
		return Bytes
	}
	return String
}

// Beside is the metadata beside a message as conditions see it: field i+1 is
// key i.
func (img *Image) Beside() *Message {
	m := &Message{Name: MetadataName}
	for i := range img.Metadata {
		k := &img.Metadata[i]
		m.Fields = append(m.Fields, Field{Number: uint32(i) + 1, Name: k.Key, Type: k.Type(), Card: Optional, MaxLen: k.Max})
	}
	return m
}

// Section is the metadata section of the messages of a gate, as it is on the
// wire: like Beside, but what no condition on any of the gate's routes looks at
// is bytes. A gate has several routes if policies stand over each other.
func (img *Image) Section(routes ...*Route) *Message {
	m := img.Beside()
	looked := make([]bool, len(m.Fields))
	for _, r := range routes {
		for i := range r.Methods {
			for _, d := range []*Decision{&r.Methods[i].Request, &r.Methods[i].Reply} {
				d.lookedAt(looked)
			}
		}
	}
	for i := range m.Fields {
		if !looked[i] {
			m.Fields[i].Type = Bytes
		}
	}
	return m
}

// lookedAt notes the keys that some condition looks at, by index.
func (d *Decision) lookedAt(keys []bool) {
	var walk func(e *Expr)
	walk = func(e *Expr) {
		for _, p := range [][]uint32{e.Path, e.Left.Path, e.Right.Path} {
			if IsMetadata(p) && len(p) == 2 && p[1] >= 1 && int64(p[1]) <= int64(len(keys)) {
				keys[p[1]-1] = true
			}
		}
		for i := range e.Args {
			walk(&e.Args[i])
		}
	}
	for _, rules := range [][]Rule{d.Forbid, d.Permit} {
		for i := range rules {
			walk(&rules[i].When)
		}
	}
}

// looksBeside reports whether some condition looks at one of so many keys.
func (d *Decision) looksBeside(keys int) bool {
	looked := make([]bool, keys)
	d.lookedAt(looked)
	return slices.Contains(looked, true)
}

// FieldAt finds the field at the end of a path from a message down, or beside
// it; nil if there is none.
func (img *Image) FieldAt(m *Message, path []uint32) *Field {
	if IsMetadata(path) {
		if len(path) == 1 {
			return &Field{Number: MetadataField, Name: MetadataName, Type: Nested, Required: true}
		}
		m, path = img.Beside(), path[1:]
	}
	for i, number := range path {
		if m == nil {
			return nil
		}
		at := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Number == number })
		if at < 0 {
			return nil
		}
		f := &m.Fields[at]
		if i == len(path)-1 {
			return f
		}
		if m = nil; f.Type == Nested {
			m = &img.Messages[f.Message]
		}
	}
	return nil
}

// FieldNamed finds a field by its path of names, with dots between, from a message
// down, and the message that it is in; nil if there is none. It looks at nothing beside m.
func (img *Image) FieldNamed(m *Message, path string) (f *Field, in *Message) {
	for name := range strings.SplitSeq(path, ".") {
		if f != nil {
			if f.Type != Nested {
				return nil, nil
			}
			m = &img.Messages[f.Message]
		}
		if m == nil {
			return nil, nil
		}
		at := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Name == name })
		if at < 0 {
			return nil, nil
		}
		f = &m.Fields[at]
	}
	return f, m
}

// PathName names a path as people write it: the names of the fields, or
// "ward.metadata" and the key, with dots between. What has no name is "#" and
// its number; m may be nil.
func (img *Image) PathName(m *Message, path []uint32) string {
	var names []string
	for i := range path {
		name := fmt.Sprintf("#%d", path[i])
		if m != nil || IsMetadata(path) {
			if f := img.FieldAt(m, path[:i+1]); f != nil {
				name = f.Name
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ".")
}
