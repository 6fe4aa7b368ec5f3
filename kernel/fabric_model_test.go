package kernel

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/image"
)

// model is what the rules for a body say, written down a second time, as
// plainly as possible: the oracle of the differential tests.
type model struct {
	img    *image.Image
	fields int
	caps   map[string]any // what the policy looks at: path -> int64, uint64 or string
}

// varint reads a varint in its shortest form.
func modelVarint(b []byte) (uint64, []byte, bool) {
	v, n := protowire.ConsumeVarint(b)
	if n < 0 || n != protowire.SizeVarint(v) {
		return 0, nil, false
	}
	return v, b[n:], true
}

// message reports whether b is a message of type index that the kernel must admit.
func (m *model) message(index uint32, b []byte, depth int, path string) bool {
	if depth > 8 {
		return false
	}
	msg := &m.img.Messages[index]
	count := map[uint32]int{}
	last := uint32(0)
	for len(b) > 0 {
		var tag uint64
		var ok bool
		if tag, b, ok = modelVarint(b); !ok || tag>>32 != 0 {
			return false
		}
		if m.fields++; m.fields > 1024 {
			return false
		}
		num, typ := uint32(tag>>3), protowire.Type(tag&7)
		i := slices.IndexFunc(msg.Fields, func(f image.Field) bool { return f.Number == num })
		if i < 0 {
			return false
		}
		f := &msg.Fields[i]
		at := path + "." + f.Name
		if f.Card == image.Repeated {
			if count[num] > 0 && last != num {
				return false
			}
		} else {
			if count[num] > 0 {
				return false
			}
			for _, o := range msg.Fields {
				if f.Oneof != 0 && o.Oneof == f.Oneof && count[o.Number] > 0 {
					return false
				}
			}
		}
		last = num
		want := modelWire(f.Type)
		if typ == protowire.BytesType && want != typ && f.Card == image.Repeated {
			var payload []byte
			if payload, b, ok = modelBytes(b); !ok || len(payload) == 0 {
				return false
			}
			for len(payload) > 0 {
				if payload, ok = m.scalar(f, payload, at); !ok {
					return false
				}
				count[num]++
			}
		} else {
			if typ != want {
				return false
			}
			count[num]++
			if typ == protowire.BytesType {
				var payload []byte
				if payload, b, ok = modelBytes(b); !ok || !m.payload(f, payload, depth, at) {
					return false
				}
			} else if b, ok = m.scalar(f, b, at); !ok {
				return false
			}
		}
		if f.Card == image.Repeated {
			if count[num] > int(f.MaxItems) {
				return false
			}
			m.caps[at+"#"] = uint64(count[num])
		}
	}
	for i := range msg.Fields {
		f := &msg.Fields[i]
		n := count[f.Number]
		switch {
		case f.Required && n == 0, f.Card == image.Repeated && n < int(f.MinItems):
			return false
		case f.Card == image.Implicit && n == 0 && f.Type != image.Nested:
			zero := []byte{0}
			switch modelWire(f.Type) {
			case protowire.Fixed32Type:
				zero = make([]byte, 4)
			case protowire.Fixed64Type:
				zero = make([]byte, 8)
			case protowire.BytesType:
				if !m.payload(f, nil, depth, "") {
					return false
				}
				continue
			}
			if _, ok := m.scalar(f, zero, ""); !ok {
				return false
			}
		}
	}
	for _, o := range msg.Required {
		if !slices.ContainsFunc(o.Fields, func(i uint32) bool { return count[msg.Fields[i].Number] > 0 }) {
			return false
		}
	}
	return true
}

func modelWire(t image.Type) protowire.Type {
	switch t {
	case image.Fixed32, image.Sfixed32, image.Float:
		return protowire.Fixed32Type
	case image.Fixed64, image.Sfixed64, image.Double:
		return protowire.Fixed64Type
	case image.String, image.Bytes, image.Nested:
		return protowire.BytesType
	}
	return protowire.VarintType
}

func modelBytes(b []byte) (payload, rest []byte, ok bool) {
	n, b, ok := modelVarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// payload judges a string, bytes or message.
func (m *model) payload(f *image.Field, p []byte, depth int, at string) bool {
	if len(p) < int(f.MinLen) || len(p) > int(f.MaxLen) {
		return false
	}
	if f.Type == image.Nested {
		return m.message(f.Message, p, depth+1, at)
	}
	s := string(p)
	m.caps[at] = s
	if len(f.In) > 0 && !slices.Contains(f.In, s) || !strings.HasPrefix(s, f.Prefix) || !strings.HasSuffix(s, f.Suffix) {
		return false
	}
	if f.Type == image.Bytes {
		return true
	}
	runes := utf8.RuneCountInString(s)
	if !utf8.ValidString(s) || runes < int(f.MinRunes) || f.MaxRunes > 0 && runes > int(f.MaxRunes) {
		return false
	}
	if f.Class != [2]uint64{} {
		for _, c := range p {
			if c > 127 || f.Class[c/64]>>(c%64)&1 == 0 {
				return false
			}
		}
	}
	return true
}

// scalar judges one number and returns what follows it.
func (m *model) scalar(f *image.Field, b []byte, at string) ([]byte, bool) {
	var v uint64
	switch modelWire(f.Type) {
	case protowire.Fixed32Type:
		x, n := protowire.ConsumeFixed32(b)
		if n < 0 {
			return nil, false
		}
		v, b = uint64(x), b[n:]
	case protowire.Fixed64Type:
		x, n := protowire.ConsumeFixed64(b)
		if n < 0 {
			return nil, false
		}
		v, b = x, b[n:]
	default:
		var ok bool
		if v, b, ok = modelVarint(b); !ok {
			return nil, false
		}
	}
	float := func(x float64) bool {
		return !f.HasRange || x >= math.Float64frombits(f.Min) && x <= math.Float64frombits(f.Max)
	}
	within := func(x int64) bool {
		m.caps[at] = x
		return (!f.HasRange || x >= int64(f.Min) && x <= int64(f.Max)) && (len(f.Values) == 0 || slices.Contains(f.Values, x))
	}
	switch f.Type {
	case image.Float:
		return b, float(float64(math.Float32frombits(uint32(v))))
	case image.Double:
		return b, float(math.Float64frombits(v))
	case image.Int32, image.Enum:
		return b, int64(v) == int64(int32(v)) && within(int64(v))
	case image.Int64, image.Sfixed64:
		return b, within(int64(v))
	case image.Sfixed32:
		return b, within(int64(int32(v)))
	case image.Sint32:
		return b, v <= math.MaxUint32 && within(protowire.DecodeZigZag(v))
	case image.Sint64:
		return b, within(protowire.DecodeZigZag(v))
	case image.Bool:
		return b, v <= 1 && within(int64(v))
	case image.Uint32:
		return b, v <= math.MaxUint32 && within(int64(v))
	case image.Fixed32:
		return b, within(int64(v))
	}
	return b, v <= math.MaxInt64 && within(int64(v)) // Uint64, Fixed64
}
