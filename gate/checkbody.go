package gate

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"ward/abi"
	"ward/image"
)

// bodyCheck walks a body as the kernel's filter does: the rules for the wire form
// and the bounds of the image, in the order of the bytes. It keeps what a
// decision and a record look at.
type bodyCheck struct {
	img    *image.Image
	keep   map[string]bool // paths; nil: nothing is kept
	values values
	fields int
	reason abi.Reason // of the first fault
	field  uint32
}

const (
	maxNesting = 9    // messages within messages, and one more
	maxFields  = 1024 // fields on the wire, in all
)

// values are kept parameters, by path.
type values map[string]*parameter

// A parameter of a message that is present in it.
type parameter struct {
	long     int64
	text     string
	elements []image.Value // of a repeated field
	count    int           // of them
}

// pathKey is a path as the key of a map.
func pathKey(path []uint32) string {
	b := make([]byte, 0, 4*len(path))
	for _, n := range path {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return string(b)
}

// below is the path of a field of the message at path; of one that is not
// reached by single messages alone there is none.
func below(path *string, f *image.Field) *string {
	if path == nil {
		return nil
	}
	s := *path + string(binary.LittleEndian.AppendUint32(nil, f.Number))
	return &s
}

func (c *bodyCheck) fail(r abi.Reason, field uint32) bool {
	c.reason, c.field = r, field
	return false
}

// at returns the place for the parameter with a path, nil if nobody looks at it.
func (c *bodyCheck) at(path *string) *parameter {
	if path == nil || !c.keep[*path] {
		return nil
	}
	p := c.values[*path]
	if p == nil {
		p = &parameter{}
		c.values[*path] = p
	}
	return p
}

// varint reads a varint in its shortest form.
func varint(b []byte) (v uint64, rest []byte, r abi.Reason) {
	for i := range 10 {
		if i >= len(b) {
			return 0, nil, abi.ReasonTruncated
		}
		d := b[i]
		v |= uint64(d&0x7f) << (7 * i)
		if d < 0x80 {
			if d == 0 && i > 0 || i == 9 && d > 1 {
				return 0, nil, abi.ReasonVarint
			}
			return v, b[i+1:], abi.ReasonNone
		}
	}
	return 0, nil, abi.ReasonVarint
}

// wireType is the wire type of a field that is not packed.
func wireType(t image.Type) uint64 {
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

// message checks b, a message of type m. It reports false at the first fault.
func (c *bodyCheck) message(m *image.Message, b []byte, path *string, depth int) bool {
	counts := make([]int, len(m.Fields))
	going := -1 // the repeated field whose elements were last
	for len(b) > 0 {
		tag, rest, r := varint(b)
		if r != abi.ReasonNone {
			return c.fail(r, 0)
		}
		if tag>>32 != 0 {
			return c.fail(abi.ReasonUnknownField, 0)
		}
		if c.fields++; c.fields > maxFields {
			return c.fail(abi.ReasonTooMany, 0)
		}
		b = rest
		num, wire := uint32(tag>>3), tag&7
		i, found := slices.BinarySearchFunc(m.Fields, num, func(f image.Field, n uint32) int { return int(f.Number) - int(n) })
		if !found {
			return c.fail(abi.ReasonUnknownField, num)
		}
		f := &m.Fields[i]
		repeated := f.Card == image.Repeated
		packed := repeated && wire == 2 && wireType(f.Type) != 2
		if wire != wireType(f.Type) && !packed {
			return c.fail(abi.ReasonWireType, num)
		}
		if going >= 0 && going != i {
			if counts[going] < fewest(&m.Fields[going]) {
				return c.fail(abi.ReasonBounds, m.Fields[going].Number)
			}
			going = -1
		}
		switch {
		case !repeated:
			for j := range m.Fields {
				if counts[j] > 0 && (j == i || f.Oneof != 0 && m.Fields[j].Oneof == f.Oneof) {
					return c.fail(abi.ReasonDuplicate, num)
				}
			}
			counts[i] = 1
		case going != i && counts[i] > 0:
			return c.fail(abi.ReasonDuplicate, num)
		default:
			going = i
			if !packed && !c.another(f, &counts[i]) {
				return false
			}
		}
		here := below(path, f)
		var ok bool
		if b, ok = c.value(f, b, packed, &counts[i], here, depth); !ok {
			return false
		}
		if p := c.at(here); p != nil && repeated {
			p.count = counts[i]
		}
	}
	return c.complete(m, counts)
}

// fewest is the least number of elements.
func fewest(f *image.Field) int {
	if f.Required {
		return max(int(f.MinItems), 1)
	}
	return int(f.MinItems)
}

// another counts an element.
func (c *bodyCheck) another(f *image.Field, n *int) bool {
	*n++
	return *n <= int(f.MaxItems) || c.fail(abi.ReasonBounds, f.Number)
}

// value checks the value behind a tag and returns what follows.
func (c *bodyCheck) value(f *image.Field, b []byte, packed bool, n *int, path *string, depth int) ([]byte, bool) {
	if len(b) == 0 {
		return nil, c.fail(abi.ReasonTruncated, f.Number)
	}
	if !packed && wireType(f.Type) != 2 {
		return c.scalar(f, b, c.at(path))
	}
	size, b, r := varint(b)
	if r != abi.ReasonNone {
		return nil, c.fail(r, f.Number)
	}
	if size > uint64(len(b)) {
		return nil, c.fail(abi.ReasonTruncated, f.Number)
	}
	payload, b := b[:size], b[size:]
	if !packed {
		return b, c.payload(f, payload, path, depth)
	}
	if size == 0 {
		return nil, c.fail(abi.ReasonBounds, f.Number)
	}
	for len(payload) > 0 {
		if !c.another(f, n) {
			return nil, false
		}
		var ok bool
		if payload, ok = c.scalar(f, payload, c.at(path)); !ok {
			return nil, false
		}
	}
	return b, true
}

// complete checks that what a message must have is there.
func (c *bodyCheck) complete(m *image.Message, counts []int) bool {
	for i := range m.Fields {
		f := &m.Fields[i]
		switch {
		case f.Card == image.Repeated && counts[i] < fewest(f):
			if f.Required {
				return c.fail(abi.ReasonRequired, f.Number)
			}
			return c.fail(abi.ReasonBounds, f.Number)
		case counts[i] > 0 || f.Card == image.Repeated:
		case f.Required:
			return c.fail(abi.ReasonRequired, f.Number)
		case f.Card == image.Implicit && !c.zero(f):
			return c.fail(abi.ReasonBounds, f.Number)
		}
	}
	for _, o := range m.Required {
		if !slices.ContainsFunc(o.Fields, func(i uint32) bool { return counts[i] > 0 }) {
			return c.fail(abi.ReasonRequired, 0)
		}
	}
	return true
}

// zero reports whether a field's zero value is within its bounds.
func (c *bodyCheck) zero(f *image.Field) bool {
	probe := &bodyCheck{img: c.img}
	switch wireType(f.Type) {
	case 2:
		return probe.payload(f, nil, nil, maxNesting)
	case 1:
		_, ok := probe.scalar(f, make([]byte, 8), nil)
		return ok
	case 5:
		_, ok := probe.scalar(f, make([]byte, 4), nil)
		return ok
	}
	_, ok := probe.scalar(f, []byte{0}, nil)
	return ok
}

// payload checks a string, bytes or a nested message.
func (c *bodyCheck) payload(f *image.Field, b []byte, path *string, depth int) bool {
	bounds := func() bool { return c.fail(abi.ReasonBounds, f.Number) }
	if len(b) < int(f.MinLen) || len(b) > int(f.MaxLen) {
		return bounds()
	}
	if len(b) == 0 && f.Required && f.Card == image.Implicit {
		return c.fail(abi.ReasonRequired, f.Number)
	}
	kept := c.at(path)
	if f.Type == image.Nested {
		if depth+1 >= maxNesting {
			return c.fail(abi.ReasonTooDeep, f.Number)
		}
		if f.Card == image.Repeated {
			path = nil
		}
		return c.message(&c.img.Messages[f.Message], b, path, depth+1)
	}
	s := string(b)
	outside := len(f.In) > 0 && !slices.Contains(f.In, s) || !strings.HasPrefix(s, f.Prefix) || !strings.HasSuffix(s, f.Suffix)
	if outside {
		return bounds()
	}
	switch {
	case f.Type == image.Bytes:
	case f.Class != [2]uint64{}:
		for _, d := range b {
			outside = outside || d > 127 || f.Class[d/64]>>(d%64)&1 == 0
		}
		if outside {
			return bounds()
		}
	default:
		if !utf8.Valid(b) {
			return c.fail(abi.ReasonUTF8, f.Number)
		}
		if runes := utf8.RuneCount(b); runes < int(f.MinRunes) || f.MaxRunes != 0 && runes > int(f.MaxRunes) {
			return bounds()
		}
	}
	if kept != nil {
		kept.text = s
		if f.Card == image.Repeated {
			kept.elements = append(kept.elements, image.Value{IsString: true, String: s})
		}
	}
	return true
}

// scalar checks a number and returns what follows it.
func (c *bodyCheck) scalar(f *image.Field, b []byte, kept *parameter) ([]byte, bool) {
	var raw uint64
	size := 0
	switch wireType(f.Type) {
	case 1:
		size = 8
	case 5:
		size = 4
	}
	if len(b) < max(size, 1) {
		return nil, c.fail(abi.ReasonTruncated, f.Number)
	}
	if size == 0 {
		var r abi.Reason
		if raw, b, r = varint(b); r != abi.ReasonNone {
			return nil, c.fail(r, f.Number)
		}
	}
	for i := range size {
		raw |= uint64(b[i]) << (8 * i)
	}
	b = b[size:]
	absent := f.Required && f.Card == image.Implicit && raw == 0
	switch f.Type {
	case image.Float, image.Double:
		v := math.Float64frombits(raw)
		if f.Type == image.Float {
			v = float64(math.Float32frombits(uint32(raw)))
		}
		if f.HasRange && !(v >= math.Float64frombits(f.Min) && v <= math.Float64frombits(f.Max)) {
			return nil, c.fail(abi.ReasonBounds, f.Number)
		}
		return b, !absent || c.fail(abi.ReasonRequired, f.Number)
	case image.Uint64, image.Fixed64:
		if raw > math.MaxInt64 {
			return nil, c.fail(abi.ReasonBounds, f.Number)
		}
	}
	if tooWide(f.Type, raw) {
		return nil, c.fail(abi.ReasonWidth, f.Number)
	}
	v := int64(raw)
	switch f.Type {
	case image.Sint32, image.Sint64:
		v = int64(raw>>1) ^ -int64(raw&1)
	case image.Sfixed32:
		v = int64(int32(raw))
	}
	out := abi.ReasonBounds
	if f.Type == image.Enum {
		out = abi.ReasonEnum
	}
	n := len(f.Values)
	if f.HasRange && (v < int64(f.Min) || v > int64(f.Max)) || n > 0 && (v < f.Values[0] || v > f.Values[n-1]) {
		return nil, c.fail(out, f.Number)
	}
	if absent {
		return nil, c.fail(abi.ReasonRequired, f.Number)
	}
	if n > 0 && !slices.Contains(f.Values, v) {
		return nil, c.fail(out, f.Number)
	}
	if kept != nil {
		kept.long = v
		if f.Card == image.Repeated {
			kept.elements = append(kept.elements, image.Value{Long: v})
		}
	}
	return b, true
}

// tooWide reports whether a varint does not fit its type.
func tooWide(t image.Type, raw uint64) bool {
	switch t {
	case image.Int32, image.Enum:
		return int64(int32(raw)) != int64(raw)
	case image.Uint32, image.Sint32:
		return raw > math.MaxUint32
	case image.Bool:
		return raw > 1
	}
	return false
}

// The parameters as package eval asks for them.

func (v values) Has(path []uint32) bool { return v[pathKey(path)] != nil }

func (v values) Long(path []uint32, what image.What) int64 {
	p := v[pathKey(path)]
	switch {
	case p == nil:
		return 0
	case what == image.Count:
		return int64(p.count)
	case what == image.Size:
		return int64(len(p.text))
	}
	return p.long
}

func (v values) Text(path []uint32) string {
	if p := v[pathKey(path)]; p != nil {
		return p.text
	}
	return ""
}

func (v values) Elements(path []uint32) []image.Value {
	if p := v[pathKey(path)]; p != nil {
		return p.elements
	}
	return nil
}
