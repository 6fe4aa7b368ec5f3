package difftest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/image"
)

// A sampler makes random messages for the bounds of an image.
type sampler struct {
	r      *rand.Rand
	img    *image.Image
	misses bool                          // some values are beyond a bound, or missing
	handle func(*dynamicpb.Message) bool // fills in a handle that was offered, or not; nil: nothing was
}

func (s *sampler) chance(n int) bool { return s.r.IntN(n) == 0 }
func (s *sampler) miss() bool        { return s.misses && s.chance(8) }

// body makes a body of a message type: most often one that is within its bounds.
func (s *sampler) body(index uint32, desc protoreflect.MessageDescriptor) []byte {
	s.misses = s.chance(4)
	m := dynamicpb.NewMessage(desc)
	s.fill(m, index)
	var b []byte
	if s.chance(2) {
		b, _ = proto.MarshalOptions{Deterministic: s.chance(2), AllowPartial: true}.Marshal(m)
	} else {
		b = s.encode(m)
	}
	if s.chance(6) {
		b = s.mutate(b)
	}
	return b
}

// fill sets random fields.
func (s *sampler) fill(m *dynamicpb.Message, index uint32) {
	im := &s.img.Messages[index]
	if im.Name == image.HandleName && s.handle != nil && s.handle(m) {
		return
	}
	sparse := s.chance(4) // few fields
	for i := range im.Fields {
		f := &im.Fields[i]
		fd := m.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(f.Number))
		need := f.Required
		for _, o := range im.Required {
			need = need || slices.Contains(o.Fields, uint32(i))
		}
		if !need && (s.chance(3) || sparse && !s.chance(4)) || s.miss() {
			continue
		}
		switch {
		case fd.IsList():
			n := int(f.MinItems) + s.r.IntN(int(min(f.MaxItems, 8)-f.MinItems)+1)
			if f.Required {
				n = max(n, 1)
			}
			if s.miss() {
				n = pick(s.r, int(f.MaxItems)+1, max(int(f.MinItems)-1, 0))
			}
			l := m.Mutable(fd).List()
			for range n {
				if f.Type == image.Nested {
					e := l.NewElement()
					s.fill(e.Message().Interface().(*dynamicpb.Message), f.Message)
					l.Append(e)
				} else {
					l.Append(s.value(f, fd))
				}
			}
		case f.Type == image.Nested:
			s.fill(m.Mutable(fd).Message().Interface().(*dynamicpb.Message), f.Message)
		default:
			m.Set(fd, s.value(f, fd)) // of a oneof, the last one wins
		}
	}
}

func (s *sampler) value(f *image.Field, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Type {
	case image.String:
		return protoreflect.ValueOfString(s.text(f))
	case image.Bytes:
		return protoreflect.ValueOfBytes([]byte(s.text(f)))
	case image.Float, image.Double:
		v := s.real(f)
		if f.Type == image.Float {
			return protoreflect.ValueOfFloat32(float32(v))
		}
		return protoreflect.ValueOfFloat64(v)
	}
	n := s.integer(f)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n != 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	}
	return protoreflect.ValueOfInt64(n)
}

// integer is what a policy may look for, an end of the range, or one beyond.
func (s *sampler) integer(f *image.Field) int64 {
	if len(f.Values) > 0 {
		v := pick(s.r, f.Values...)
		if s.miss() {
			v += pick[int64](s.r, 1, -1)
		}
		return v
	}
	lo, hi := int64(f.Min), int64(f.Max)
	if s.miss() {
		return pick(s.r, lo-1, hi+1, int64(s.r.Uint64()))
	}
	for range 6 {
		if v := pick(s.r, numbers...) + pick[int64](s.r, 0, 0, 1, -1); v >= lo && v <= hi {
			return v
		}
	}
	return pick(s.r, lo, hi, lo+(hi-lo)/2)
}

func (s *sampler) real(f *image.Field) float64 {
	lo, hi := math.Float64frombits(f.Min), math.Float64frombits(f.Max)
	if !f.HasRange || s.miss() {
		v := pick(s.r, 0, math.Copysign(0, -1), 1.5, -2, math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64, 2.5, -1e-30, 0.1)
		if f.HasRange && s.chance(2) {
			v = pick(s.r, math.Nextafter(lo, math.Inf(-1)), math.Nextafter(hi, math.Inf(1)), float64(math.Nextafter32(float32(hi), float32(math.Inf(1)))))
		}
		return v
	}
	v := pick(s.r, lo, hi, 1, 0.5, 0.75, -1, 2)
	if v < lo || v > hi || v == 0 && s.chance(2) {
		v = pick(s.r, lo, hi)
	}
	return v
}

func (s *sampler) text(f *image.Field) string {
	if len(f.In) > 0 && !s.miss() {
		return pick(s.r, f.In...)
	}
	t := pick(s.r, words...)
	if f.Class != [2]uint64{} && !s.miss() {
		t = pick(s.r, "a", "ab", "abc", "b", "aab", "ccc")
	}
	size, limit := int(f.MinLen), int(f.MaxLen)
	if s.chance(5) {
		size = max(size, s.r.IntN(min(limit, 150)+1))
	}
	if s.chance(40) {
		size = limit
	}
	if s.miss() {
		limit++
		size = pick(s.r, limit, max(int(f.MinLen)-1, 0))
	}
	pieces := []string{"a"}
	if f.Type == image.String && f.Class == [2]uint64{} && s.chance(2) {
		pieces = []string{"a", "b", "é", "☃", "𝄞"}
	}
	for len(t)+len(f.Prefix)+len(f.Suffix) < size {
		t += pick(s.r, pieces...)
	}
	if room := max(limit-len(f.Prefix)-len(f.Suffix), 0); len(t) > room && !s.miss() {
		t = strings.ToValidUTF8(t[:room], "")
	}
	if n := int(f.MaxRunes) - len(f.Prefix) - len(f.Suffix); f.MaxRunes > 0 && utf8.RuneCountInString(t) > n && !s.miss() {
		t = string([]rune(t)[:max(n, 0)])
	}
	if !s.miss() {
		if !strings.HasPrefix(t, f.Prefix) {
			t = f.Prefix + t
		}
		if !strings.HasSuffix(t, f.Suffix) {
			t += f.Suffix
		}
		for len(t) < int(f.MinLen) || utf8.RuneCountInString(t) < int(f.MinRunes) {
			t = f.Prefix + "a" + t[len(f.Prefix):]
		}
	}
	if f.Type == image.Bytes && len(f.In) == 0 && s.chance(4) && len(t) > 4 {
		t = t[:2] + "\xff\x00" + t[4:]
	}
	if s.miss() && s.chance(3) {
		t += pick(s.r, "\xff", "\xc3", "\xe2\x98", "\xf0\x9d\x84", "\xed\xa0\x80", "\xc0\x80")
	}
	return t
}

// encode writes a message with its fields in any order, scalars packed or not,
// and zeros of fields without presence now and then.
func (s *sampler) encode(m protoreflect.Message) []byte {
	var parts [][]byte
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) && (fd.HasPresence() || fd.IsList() || !s.chance(12)) {
			continue
		}
		var b []byte
		switch {
		case !fd.IsList():
			b = s.scalar(tag(nil, fd, false), fd, m.Get(fd))
		case packable(fd) && s.chance(2):
			var p []byte
			for j := range m.Get(fd).List().Len() {
				p = s.scalar(p, fd, m.Get(fd).List().Get(j))
			}
			b = protowire.AppendBytes(tag(nil, fd, true), p)
		default:
			for j := range m.Get(fd).List().Len() {
				b = s.scalar(tag(b, fd, false), fd, m.Get(fd).List().Get(j))
			}
		}
		parts = append(parts, b)
	}
	s.r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return slices.Concat(parts...)
}

func packable(fd protoreflect.FieldDescriptor) bool { return wireType(fd) != protowire.BytesType }

func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

func tag(b []byte, fd protoreflect.FieldDescriptor, packed bool) []byte {
	t := wireType(fd)
	if packed {
		t = protowire.BytesType
	}
	return protowire.AppendTag(b, fd.Number(), t)
}

func (s *sampler) scalar(b []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protowire.AppendVarint(b, protowire.EncodeBool(v.Bool()))
	case protoreflect.EnumKind:
		return protowire.AppendVarint(b, uint64(int64(v.Enum())))
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return protowire.AppendVarint(b, uint64(v.Int()))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return protowire.AppendVarint(b, v.Uint())
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(b, protowire.EncodeZigZag(v.Int()))
	case protoreflect.Fixed32Kind:
		return protowire.AppendFixed32(b, uint32(v.Uint()))
	case protoreflect.Sfixed32Kind:
		return protowire.AppendFixed32(b, uint32(v.Int()))
	case protoreflect.Fixed64Kind:
		return protowire.AppendFixed64(b, v.Uint())
	case protoreflect.Sfixed64Kind:
		return protowire.AppendFixed64(b, uint64(v.Int()))
	case protoreflect.FloatKind:
		return protowire.AppendFixed32(b, math.Float32bits(float32(v.Float())))
	case protoreflect.DoubleKind:
		return protowire.AppendFixed64(b, math.Float64bits(v.Float()))
	case protoreflect.StringKind:
		return protowire.AppendString(b, v.String())
	case protoreflect.BytesKind:
		return protowire.AppendBytes(b, v.Bytes())
	}
	return protowire.AppendBytes(b, s.encode(v.Message()))
}

// mutate changes a message in one or two places: bytes, or whole fields.
func (s *sampler) mutate(b []byte) []byte {
	r := s.r
	for range 1 + r.IntN(2) {
		if len(b) == 0 || s.chance(6) {
			// A field, known or not, more than there was.
			b = protowire.AppendTag(slices.Clone(b), protowire.Number(1+r.IntN(12)), pick(r, protowire.VarintType, protowire.BytesType, protowire.Fixed32Type))
			b = append(b, pick(r, []byte{1}, []byte{0}, []byte{1, 'a'}, []byte{1, 2, 3, 4}, []byte{0x80, 0})...)
			continue
		}
		i := r.IntN(len(b))
		switch r.IntN(8) {
		case 0, 1:
			b[i] ^= 1 << r.IntN(8)
		case 2:
			b = b[:i]
		case 3:
			b = slices.Insert(slices.Clone(b), i, byte(r.Uint32()))
		case 4:
			b = slices.Delete(slices.Clone(b), i, i+1)
		case 5: // a field twice
			if _, _, n := protowire.ConsumeField(b); n > 0 {
				b = append(slices.Clone(b), b[:n]...)
			}
		case 6: // a longer form of a byte
			if b[i] < 0x80 {
				b = slices.Insert(slices.Clone(b), i+1, 0)
				b[i] |= 0x80
			}
		case 7: // the first field last
			if _, _, n := protowire.ConsumeField(b); n > 0 {
				b = slices.Concat(b[n:], b[:n])
			}
		}
	}
	return b
}
