package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"ward/image"
)

// A tree is the tables that drive the walk, while they are being made.
type tree struct {
	msgs   []image.Message // those of the image, then Ward's own
	beside uint32          // index in msgs of the metadata section
	nodes  []nodeRow
	rows   []fieldRow
	values []uint64
	rules  []rule
	shared map[uint32]uint32 // message without captures: its node
}

// A rule is what check looks at in one string field.
type rule struct {
	number uint32
	field  *image.Field
}

// newTree returns a tree with the metadata section as node 0, an error's
// Status as node 1, and that of a terse method as node 2.
func newTree(img *image.Image, section *image.Message) *tree {
	t := &tree{shared: map[uint32]uint32{}}
	t.msgs = slices.Clone(img.Messages)
	n := uint32(len(t.msgs))
	t.beside = n
	t.msgs = append(t.msgs, *section, anyMessage, statusMessage(n+1), codeMessage)
	// These cannot fail: they are small, and Check bounds the number of keys.
	t.nodes = make([]nodeRow, 3)
	t.fill(nodeMetadata, n, nil, 0)
	t.fill(nodeStatus, n+2, nil, 0)
	t.fill(nodeCode, n+3, nil, 0)
	return t
}

// metadata returns the node of the metadata section under the captures of c:
// the one that all methods share if there are none.
func (t *tree) metadata(c *captureTree) (uint32, error) {
	if c == nil {
		return nodeMetadata, nil
	}
	return t.message(t.beside, c, 0)
}

// The shape of google.protobuf.Any and google.rpc.Status, bounded.
var anyMessage = image.Message{Name: "google.protobuf.Any", Fields: []image.Field{
	{Number: 1, Name: "type_url", Type: image.String, MaxLen: 256},
	{Number: 2, Name: "value", Type: image.Bytes, MaxLen: 4096},
}}

func statusMessage(any uint32) image.Message {
	return image.Message{Name: "ward.v1.Status", Fields: []image.Field{
		{Number: 1, Name: "code", Type: image.Int32},
		{Number: 2, Name: "message", Type: image.String, MaxLen: 1024},
		{Number: 3, Name: "details", Type: image.Nested, Card: image.Repeated, Message: any, MaxLen: 8192, MaxItems: 8},
	}}
}

// message returns the node of message index under the captures of c, nil for none.
func (t *tree) message(index uint32, c *captureTree, depth int) (uint32, error) {
	if c != nil && len(c.children) == 0 {
		c = nil
	}
	if c == nil {
		if n, ok := t.shared[index]; ok {
			return n, nil
		}
	}
	if len(t.nodes) >= MaxNodes {
		return 0, fmt.Errorf("message %s: more than %d messages in the trees of one interface and direction", t.msgs[index].Name, MaxNodes)
	}
	at := uint32(len(t.nodes))
	t.nodes = append(t.nodes, nodeRow{})
	if err := t.fill(at, index, c, depth); err != nil {
		return 0, err
	}
	if c == nil {
		t.shared[index] = at
	}
	return at, nil
}

// fill makes node at describe message index.
func (t *tree) fill(at, index uint32, c *captureTree, depth int) error {
	m := &t.msgs[index]
	if depth >= Levels {
		return fmt.Errorf("message %s is nested more than %d deep", m.Name, Levels-1)
	}
	if len(m.Fields) > maxChildren {
		return fmt.Errorf("message %s has %d fields, the limit is %d; group some in a nested message", m.Name, len(m.Fields), maxChildren)
	}
	n := nodeRow{base: uint32(len(t.rows)), count: uint32(len(m.Fields))}
	if k := len(m.Fields); k > 0 && m.Fields[k-1].Number <= denseRows {
		n.dense = 1
		n.count = m.Fields[k-1].Number
	}
	if len(t.rows)+int(n.count) > MaxRows {
		return fmt.Errorf("message %s: more than %d rows of fields in the trees of one interface and direction", m.Name, MaxRows)
	}
	t.rows = append(t.rows, make([]fieldRow, n.count)...)
	for i := range m.Fields {
		f := &m.Fields[i]
		var fc *captureTree
		if c != nil {
			fc = c.children[f.Number]
		}
		row, err := t.field(m, i, fc, depth)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", m.Name, f.Name, err)
		}
		need, bound := needed(f)
		if need {
			n.required |= 1 << i
		}
		pos := n.base + uint32(i)
		if n.dense != 0 {
			pos = n.base + f.Number - 1
		}
		nth := t.rows[pos].nth // of another field, kept
		flag := t.rows[pos].nthFlag
		t.rows[pos] = row
		t.rows[pos].nth, t.rows[pos].nthFlag = nth, flag
		t.rows[n.base+uint32(i)].nth = f.Number
		if bound {
			t.rows[n.base+uint32(i)].nthFlag = 1
		}
	}
	if len(m.Required) > MaxOneofs {
		return fmt.Errorf("message %s has %d required oneofs, the limit is %d", m.Name, len(m.Required), MaxOneofs)
	}
	n.oneof, n.noneof = uint32(len(t.values)), uint32(len(m.Required))
	for _, o := range m.Required {
		var mask uint64
		for _, f := range o.Fields {
			mask |= 1 << f
		}
		t.values = append(t.values, mask)
	}
	t.nodes[at] = n
	return nil
}

// field makes the row of field i of m.
func (t *tree) field(m *image.Message, i int, c *captureTree, depth int) (fieldRow, error) {
	f := &m.Fields[i]
	r := fieldRow{number: f.Number, typ: uint8(f.Type), wire: wire(f.Type), bit: uint8(i), hi: math.MaxUint64,
		minLen: f.MinLen, maxLen: f.MaxLen, minItems: f.MinItems, maxItems: f.MaxItems, minRunes: f.MinRunes, maxRunes: f.MaxRunes}
	if c != nil {
		r.cap, r.count = uint8(c.value), uint8(c.count)
	}
	if f.Card == image.Repeated {
		r.flags |= flagRepeated
		if f.Required {
			r.minItems = max(r.minItems, 1)
		}
	}
	if f.Required && f.Card == image.Implicit {
		r.flags |= flagNonzero
	}
	if f.Oneof != 0 {
		for j := range m.Fields {
			if m.Fields[j].Oneof == f.Oneof {
				r.oneof |= 1 << j
			}
		}
	}
	switch f.Type {
	case image.Nested:
		child, err := t.message(f.Message, c, depth+1)
		if err != nil {
			return r, err
		}
		r.child = child
	case image.String, image.Bytes:
		if f.Class != [2]uint64{} {
			r.flags |= flagClass
			r.class = f.Class
		}
		if len(f.In) > 0 && !largeIn(f) || f.Prefix != "" || f.Suffix != "" {
			t.rules = append(t.rules, rule{f.Number, f})
			if len(t.rules) > maxRules {
				return r, fmt.Errorf("more than %d rules on strings in the trees of one interface and direction", maxRules)
			}
			r.check = uint16(len(t.rules))
		}
	default:
		if err := t.numbers(f, &r, r.cap != 0); err != nil {
			return r, err
		}
	}
	return r, t.seenBy(f, c, &r)
}

func wire(t image.Type) uint8 {
	switch t {
	case image.Fixed64, image.Sfixed64, image.Double:
		return 1
	case image.Fixed32, image.Sfixed32, image.Float:
		return 5
	case image.String, image.Bytes, image.Nested:
		return 2
	}
	return 0
}

// uses returns what the tables and the methods ask of the program.
func (t *tree) uses(methods []methodRow) (u uint64) {
	for i := range t.nodes {
		if n := &t.nodes[i]; n.dense == 0 && n.count > 0 {
			u |= usesSparse
		}
	}
	for i := range t.rows {
		if t.rows[i].flags&flagClass != 0 {
			u |= usesClass
		}
		if t.rows[i].flags&flagSet != 0 {
			u |= usesSet
		}
		if t.rows[i].tests != 0 {
			u |= usesTests
		}
		if t.rows[i].likes != 0 {
			u |= usesLikes
		}
	}
	for i := range methods {
		if methods[i].flags>>methodHandle&handleSlots != 0 {
			u |= usesHandle
		}
		if methods[i].flags&methodPost != 0 {
			u |= usesPost
		}
		switch n := methods[i].nstrs; {
		case n == 0:
		case n == 1:
			u |= usesText1
		case n == 2:
			u |= usesText2
		case n <= 4:
			u |= usesText4
		default:
			u |= usesText8
		}
	}
	return u
}

// tables returns the contents of the maps nodes, fields and values.
func (t *tree) tables() (nodes, fields, values []byte) {
	for i := range t.nodes {
		nodes = t.nodes[i].append(nodes)
	}
	for i := range t.rows {
		fields = t.rows[i].append(fields)
	}
	if len(t.rows) == 0 {
		fields = (&fieldRow{}).append(fields)
	}
	for _, v := range t.values {
		values = binary.LittleEndian.AppendUint64(values, v)
	}
	if len(values) == 0 {
		values = make([]byte, 8)
	}
	return nodes, fields, values
}
