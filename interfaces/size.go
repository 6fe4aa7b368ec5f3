package interfaces

import (
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/diag"
	"ward/image"
)

// maxBody is the largest body of a message, in bytes.
const maxBody = abi.MaxMessage - abi.HeaderSize

// huge stands for all sizes beyond reason, so that sums and products of sizes
// do not overflow.
const huge = 1 << 40

func add(a, b uint64) uint64 { return min(a+b, huge) }

func mul(a, b uint64) uint64 {
	if hi, lo := bits.Mul64(a, b); hi == 0 {
		return min(lo, huge)
	}
	return huge
}

// measure computes the largest encoding of a message within its bounds, and
// refuses it if no gate could carry that.
func (b *builder) measure(e *entry, m protoreflect.MessageDescriptor, fields []*fieldInfo, at diag.Pos) {
	oneofSize, oneofWalk := map[uint32]uint64{}, map[uint32]work{}
	var largest *fieldInfo
	var most uint64
	for _, f := range fields {
		size, walk := f.size(), f.walk()
		if size > most {
			largest, most = f, size
		}
		if f.Oneof != 0 { // one member at most
			oneofSize[f.Oneof] = max(oneofSize[f.Oneof], size)
			w := oneofWalk[f.Oneof]
			oneofWalk[f.Oneof] = work{max(w.fields, walk.fields), max(w.steps, walk.steps)}
			continue
		}
		e.size, e.walk = add(e.size, size), e.walk.plus(walk)
	}
	for g, size := range oneofSize {
		e.size, e.walk = add(e.size, size), e.walk.plus(oneofWalk[g])
	}
	switch {
	case e.bad:
	case e.size > maxBody:
		b.refuse(e, largest.at, largest.cure(), "the message %s may take up to %s within its bounds, more than a gate carries (%d); its largest field is %s with up to %s",
			m.FullName(), plural(e.size, "byte"), maxBody, largest.Name, plural(most, "byte"))
	case e.walk.fields > abi.MaxWalk:
		b.out.Warnf(at, "bound the repeated fields with (buf.validate.field).repeated.max_items", "the message %s may have up to %s on the wire within its bounds; one with more than %d is denied",
			m.FullName(), plural(e.walk.fields, "field"), abi.MaxWalk)
	case e.walk.steps > abi.MaxSteps:
		b.out.Warnf(at, "bound the repeated fields with (buf.validate.field).repeated.max_items", "the message %s may take the filter up to %s within its bounds; one that takes more than %d is denied",
			m.FullName(), plural(e.walk.steps, "step"), abi.MaxSteps)
	}
}

// work is what the filter does for a message at most: see abi.MaxWalk and abi.MaxSteps.
type work struct{ fields, steps uint64 }

func (w work) plus(v work) work { return work{add(w.fields, v.fields), add(w.steps, v.steps)} }

// stretch is the number of bytes of a string that the filter checks in a step.
const stretch = 64

// cure says how to make a field smaller.
func (f *fieldInfo) cure() string {
	s := "bound it: "
	if f.Card == image.Repeated {
		s += "(buf.validate.field).repeated.max_items"
		switch f.Type {
		case image.String:
			s += " and .repeated.items.string.max_bytes"
		case image.Bytes:
			s += " and .repeated.items.bytes.max_len"
		case image.Nested:
			s += ", or bound the fields of " + string(f.fd.Message().FullName())
		}
	} else {
		switch f.Type {
		case image.String:
			s += "(buf.validate.field).string.max_bytes or max_len"
		case image.Bytes:
			s += "(buf.validate.field).bytes.max_len"
		case image.Nested:
			s += "the fields of " + string(f.fd.Message().FullName())
		default:
			s += "use fewer fields"
		}
	}
	if f.Default {
		s += " (what is not bounded has Ward's default)"
	}
	return s
}

// walk returns the work that f may make.
func (f *fieldInfo) walk() work {
	w := work{1, 1}
	switch f.Type {
	case image.Nested:
		w = w.plus(f.nested.walk)
	case image.String:
		w.steps += uint64(f.MaxLen+stretch-1) / stretch
	}
	if f.Card != image.Repeated {
		return w
	}
	n := uint64(f.MaxItems)
	if f.fd.IsPacked() {
		return work{1, add(1, n)}
	}
	return work{mul(n, w.fields), mul(n, w.steps)}
}

// size returns the largest number of bytes that f takes in its message, key
// included. A repeated scalar counts in the larger of its two encodings.
func (f *fieldInfo) size() uint64 {
	tag := uint64(protowire.SizeTag(protowire.Number(f.Number)))
	elem := f.elemSize()
	if f.Card != image.Repeated {
		return add(tag, elem)
	}
	n := uint64(f.MaxItems)
	if n == 0 {
		return 0
	}
	size := mul(n, add(tag, elem))
	if packable(f.Type) {
		size = max(size, add(tag, lengthPrefixed(mul(n, elem))))
	}
	return size
}

func packable(t image.Type) bool {
	return t != image.String && t != image.Bytes && t != image.Nested
}

func lengthPrefixed(n uint64) uint64 { return add(n, uint64(protowire.SizeVarint(n))) }

// elemSize returns the largest number of bytes of one value.
func (f *fieldInfo) elemSize() uint64 {
	switch f.Type {
	case image.Fixed32, image.Sfixed32, image.Float:
		return 4
	case image.Fixed64, image.Sfixed64, image.Double:
		return 8
	case image.Bool:
		return 1
	case image.String, image.Bytes:
		return lengthPrefixed(uint64(f.MaxLen))
	case image.Nested:
		return lengthPrefixed(f.nested.size)
	}
	most := 0
	if len(f.Values) > 0 {
		for _, v := range f.Values {
			most = max(most, f.varint(uint64(v)))
		}
		return uint64(most)
	}
	// The largest varint is at an end of the range: of the values of one sign
	// the ones farther from 0 are longer, or as long.
	most = max(f.varint(f.Min), f.varint(f.Max))
	return uint64(most)
}

func (f *fieldInfo) varint(v uint64) int {
	if f.Type == image.Sint32 || f.Type == image.Sint64 {
		v = protowire.EncodeZigZag(int64(v))
	}
	return protowire.SizeVarint(v)
}
