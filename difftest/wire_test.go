package difftest

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"ward/abi"
	"ward/image"
)

// A walk is the check of a body in Go: the rules for the wire form and the
// bounds of the image, in the order of the bytes, and what the first fault is.
type walk struct {
	img    *image.Image
	fields int
	reason abi.Reason // of the fault; ReasonNone if there is none
	field  uint32
	also   abi.Reason // a second fault of the same string: which is told first is not said
	// soft is true if protovalidate need not mind the fault: a bound of
	// Ward's own, or of the wire form.
	soft bool
}

// nesting is the number of messages within messages, and maxFields that of
// fields on the wire, beyond which the filter denies.
const (
	nesting   = 9
	maxFields = 1024
)

func (w *walk) fail(r abi.Reason, field uint32) bool {
	w.reason, w.field = r, field
	w.soft = w.soft || r != abi.ReasonBounds && r != abi.ReasonRequired
	return false
}

// number reads a varint in its shortest form.
func number(b []byte) (v uint64, rest []byte, r abi.Reason) {
	for i := range 10 {
		if i >= len(b) {
			return 0, nil, abi.ReasonTruncated
		}
		c := b[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 || i == 9 && c > 1 {
				return 0, nil, abi.ReasonVarint
			}
			return v, b[i+1:], abi.ReasonNone
		}
	}
	return 0, nil, abi.ReasonVarint
}

func wireOf(t image.Type) uint64 {
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
func (w *walk) message(m *image.Message, b []byte, depth int) bool {
	counts := make([]int, len(m.Fields))
	going := -1 // the repeated field whose elements were last
	for len(b) > 0 {
		tag, rest, r := number(b)
		if r != 0 {
			return w.fail(r, 0)
		}
		if tag>>32 != 0 {
			return w.fail(abi.ReasonUnknownField, 0)
		}
		if w.fields++; w.fields > maxFields {
			return w.fail(abi.ReasonTooMany, 0)
		}
		b = rest
		num, wire := uint32(tag>>3), tag&7
		i := slices.IndexFunc(m.Fields, func(f image.Field) bool { return f.Number == num })
		if i < 0 {
			return w.fail(abi.ReasonUnknownField, num)
		}
		f := &m.Fields[i]
		want, repeated := wireOf(f.Type), f.Card == image.Repeated
		packed := repeated && wire == 2 && want != 2
		if wire != want && !packed {
			return w.fail(abi.ReasonWireType, num)
		}
		if going >= 0 && going != i {
			if counts[going] < least(&m.Fields[going]) {
				return w.fail(abi.ReasonBounds, m.Fields[going].Number)
			}
			going = -1
		}
		switch {
		case !repeated:
			for j := range m.Fields {
				if counts[j] > 0 && (j == i || f.Oneof != 0 && m.Fields[j].Oneof == f.Oneof) {
					return w.fail(abi.ReasonDuplicate, num)
				}
			}
			counts[i] = 1
		case going != i && counts[i] > 0:
			return w.fail(abi.ReasonDuplicate, num)
		default:
			going = i
			if !packed && !w.another(f, &counts[i]) {
				return false
			}
		}
		var ok bool
		if b, ok = w.value(f, b, packed, &counts[i], depth); !ok {
			return false
		}
	}
	return w.end(m, counts)
}

func least(f *image.Field) int {
	if f.Required {
		return max(int(f.MinItems), 1)
	}
	return int(f.MinItems)
}

// another counts an element.
func (w *walk) another(f *image.Field, n *int) bool {
	if *n++; *n > int(f.MaxItems) {
		w.soft = w.soft || f.Default
		return w.fail(abi.ReasonBounds, f.Number)
	}
	return true
}

// value checks the value behind a tag and returns what follows.
func (w *walk) value(f *image.Field, b []byte, packed bool, n *int, depth int) ([]byte, bool) {
	if len(b) == 0 {
		return nil, w.fail(abi.ReasonTruncated, f.Number)
	}
	if !packed && wireOf(f.Type) != 2 {
		return w.scalar(f, b)
	}
	size, b, r := number(b)
	if r != 0 {
		return nil, w.fail(r, f.Number)
	}
	if size > uint64(len(b)) {
		return nil, w.fail(abi.ReasonTruncated, f.Number)
	}
	payload, b := b[:size], b[size:]
	if !packed {
		return b, w.payload(f, payload, depth)
	}
	if size == 0 {
		w.soft = true
		return nil, w.fail(abi.ReasonBounds, f.Number)
	}
	for len(payload) > 0 {
		if !w.another(f, n) {
			return nil, false
		}
		var ok bool
		if payload, ok = w.scalar(f, payload); !ok {
			return nil, false
		}
	}
	return b, true
}

// end checks that what a message must have is there.
func (w *walk) end(m *image.Message, counts []int) bool {
	for i := range m.Fields {
		f := &m.Fields[i]
		switch {
		case f.Card == image.Repeated && counts[i] < least(f):
			if f.Required {
				return w.fail(abi.ReasonRequired, f.Number)
			}
			return w.fail(abi.ReasonBounds, f.Number)
		case counts[i] > 0 || f.Card == image.Repeated:
		case f.Required:
			return w.fail(abi.ReasonRequired, f.Number)
		case f.Card == image.Implicit && !w.zero(f):
			return w.fail(abi.ReasonBounds, f.Number)
		}
	}
	for _, o := range m.Required {
		if !slices.ContainsFunc(o.Fields, func(i uint32) bool { return counts[i] > 0 }) {
			return w.fail(abi.ReasonRequired, 0)
		}
	}
	return true
}

// zero reports whether a field's zero value is within its bounds.
func (w *walk) zero(f *image.Field) bool {
	probe := &walk{img: w.img}
	switch wireOf(f.Type) {
	case 2:
		return probe.payload(f, nil, nesting)
	case 1:
		_, ok := probe.scalar(f, make([]byte, 8))
		return ok
	case 5:
		_, ok := probe.scalar(f, make([]byte, 4))
		return ok
	}
	_, ok := probe.scalar(f, []byte{0})
	return ok
}

// payload checks a string, bytes or a nested message.
func (w *walk) payload(f *image.Field, p []byte, depth int) bool {
	bounds := func() bool { return w.fail(abi.ReasonBounds, f.Number) }
	if len(p) < int(f.MinLen) || len(p) > int(f.MaxLen) {
		w.soft = w.soft || f.Type == image.Nested || f.Default && len(p) > int(f.MaxLen)
		return bounds()
	}
	if len(p) == 0 && f.Required && f.Card == image.Implicit {
		return w.fail(abi.ReasonRequired, f.Number)
	}
	if f.Type == image.Nested {
		if depth+1 >= nesting {
			return w.fail(abi.ReasonTooDeep, f.Number)
		}
		return w.message(&w.img.Messages[f.Message], p, depth+1)
	}
	s := string(p)
	outside := len(f.In) > 0 && !slices.Contains(f.In, s) || !strings.HasPrefix(s, f.Prefix) || !strings.HasSuffix(s, f.Suffix)
	if f.Type == image.Bytes {
		return !outside || bounds()
	}
	if f.Class != [2]uint64{} {
		for _, c := range p {
			outside = outside || c > 127 || f.Class[c/64]>>(c%64)&1 == 0
		}
		w.soft = w.soft || outside && !utf8.Valid(p)
		return !outside || bounds()
	}
	if !utf8.Valid(p) {
		if outside {
			w.also = abi.ReasonBounds
		}
		return w.fail(abi.ReasonUTF8, f.Number)
	}
	runes := utf8.RuneCount(p)
	return !outside && runes >= int(f.MinRunes) && (f.MaxRunes == 0 || runes <= int(f.MaxRunes)) || bounds()
}

// scalar checks a number and returns what follows it.
func (w *walk) scalar(f *image.Field, b []byte) ([]byte, bool) {
	var raw uint64
	size := map[uint64]int{1: 8, 5: 4}[wireOf(f.Type)]
	if len(b) < max(size, 1) {
		return nil, w.fail(abi.ReasonTruncated, f.Number)
	}
	if size == 0 {
		var r abi.Reason
		if raw, b, r = number(b); r != 0 {
			return nil, w.fail(r, f.Number)
		}
	}
	for i := range size {
		raw |= uint64(b[i]) << (8 * i)
	}
	b = b[size:]
	nonzero := f.Required && f.Card == image.Implicit && raw == 0
	switch f.Type {
	case image.Float, image.Double:
		v := math.Float64frombits(raw)
		if f.Type == image.Float {
			v = float64(math.Float32frombits(uint32(raw)))
		}
		if f.HasRange && !(v >= math.Float64frombits(f.Min) && v <= math.Float64frombits(f.Max)) {
			return nil, w.fail(abi.ReasonBounds, f.Number)
		}
		return b, !nonzero || w.fail(abi.ReasonRequired, f.Number)
	case image.Uint64, image.Fixed64:
		if raw > math.MaxInt64 {
			w.soft = true
			return nil, w.fail(abi.ReasonBounds, f.Number)
		}
	}
	narrow := map[image.Type]bool{image.Int32: int64(int32(raw)) != int64(raw), image.Enum: int64(int32(raw)) != int64(raw),
		image.Uint32: raw > math.MaxUint32, image.Sint32: raw > math.MaxUint32, image.Bool: raw > 1}
	if narrow[f.Type] {
		return nil, w.fail(abi.ReasonWidth, f.Number)
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
		return nil, w.fail(out, f.Number)
	}
	if nonzero {
		return nil, w.fail(abi.ReasonRequired, f.Number)
	}
	if n > 0 && !slices.Contains(f.Values, v) {
		return nil, w.fail(out, f.Number)
	}
	return b, true
}

// status is the message of an error, and an image that has what is in it: all
// of it, or, of a method whose replies may not all pass, its code.
func status(img *image.Image, terse bool) (*image.Image, *image.Message) {
	code := image.Field{Number: 1, Type: image.Int32}
	if terse {
		code.HasRange, code.Max = true, 16
		return img, &image.Message{Fields: []image.Field{code}}
	}
	with := *img
	with.Messages = append(slices.Clip(img.Messages), image.Message{Fields: []image.Field{
		{Number: 1, Type: image.String, MaxLen: 256},
		{Number: 2, Type: image.Bytes, MaxLen: 4096},
	}})
	return &with, &image.Message{Fields: []image.Field{code,
		{Number: 2, Type: image.String, MaxLen: 1024},
		{Number: 3, Type: image.Nested, Card: image.Repeated, Message: uint32(len(img.Messages)), MaxLen: 8192, MaxItems: 8},
	}}
}
