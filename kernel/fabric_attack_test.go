package kernel

import (
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// f is a field number with its wire type and encoded value.
func f(num protowire.Number, typ protowire.Type, value ...byte) []byte {
	return append(protowire.AppendTag(nil, num, typ), value...)
}

func vint(num protowire.Number, v uint64) []byte {
	return f(num, protowire.VarintType, protowire.AppendVarint(nil, v)...)
}

func lend(num protowire.Number, s string) []byte {
	return f(num, protowire.BytesType, protowire.AppendString(nil, s)...)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func signedBits(v int64) uint64 { return uint64(v) }

// allImage is a system whose method All takes one field of every kind, all
// optional unless said; the policy admits whatever is well-formed.
func allImage() *image.Image {
	img := echoImage()
	all := image.MethodPolicy{
		Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}},
		Reply:   image.Decision{Permit: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}},
	}
	img.Messages = []image.Message{
		{Name: "test.v1.All", Fields: []image.Field{
			{Number: 1, Name: "int32", Type: image.Int32, HasRange: true, Min: signedBits(-1000), Max: 1000},
			{Number: 2, Name: "int64", Type: image.Int64},
			{Number: 3, Name: "uint32", Type: image.Uint32},
			{Number: 4, Name: "uint64", Type: image.Uint64},
			{Number: 5, Name: "sint32", Type: image.Sint32, HasRange: true, Min: signedBits(-5), Max: 5},
			{Number: 6, Name: "sint64", Type: image.Sint64},
			{Number: 7, Name: "fixed32", Type: image.Fixed32, HasRange: true, Max: 100},
			{Number: 8, Name: "fixed64", Type: image.Fixed64, HasRange: true, Max: 100},
			{Number: 9, Name: "sfixed32", Type: image.Sfixed32, HasRange: true, Min: signedBits(-1), Max: 1},
			{Number: 10, Name: "sfixed64", Type: image.Sfixed64, HasRange: true, Min: signedBits(-1), Max: 1},
			{Number: 11, Name: "bool", Type: image.Bool},
			{Number: 12, Name: "enum", Type: image.Enum, Values: []int64{-2, 0, 1, 5}},
			{Number: 13, Name: "sparse", Type: image.Enum, Values: []int64{0, 1000, 100000}},
			{Number: 14, Name: "float", Type: image.Float, HasRange: true, Min: math.Float64bits(-0.1), Max: math.Float64bits(2.5)},
			{Number: 15, Name: "double", Type: image.Double, HasRange: true, Min: math.Float64bits(0), Max: math.Float64bits(1)},
			{Number: 16, Name: "string", Type: image.String, MaxLen: 200, MaxRunes: 100},
			{Number: 17, Name: "bytes", Type: image.Bytes, MaxLen: 10},
			{Number: 18, Name: "class", Type: image.String, MaxLen: 100, Class: [2]uint64{1<<'-' | 0x3ff<<48, 0x3ffffff << ('a' - 64)}},
			{Number: 19, Name: "in", Type: image.String, MaxLen: 40, In: []string{"", "api", "www", strings.Repeat("x", 33) + "a", strings.Repeat("x", 33) + "b"}},
			{Number: 20, Name: "affix", Type: image.String, Card: image.Optional, MaxLen: 40, Prefix: "pre-", Suffix: ".org"},
			{Number: 21, Name: "one", Type: image.Uint32, Card: image.Optional, Oneof: 1},
			{Number: 22, Name: "other", Type: image.String, Card: image.Optional, Oneof: 1, MaxLen: 10},
			{Number: 23, Name: "packed", Type: image.Int32, Card: image.Repeated, MaxItems: 4, HasRange: true, Max: 1000},
			{Number: 24, Name: "strings", Type: image.String, Card: image.Repeated, MaxItems: 3, MaxLen: 5},
			{Number: 25, Name: "fixeds", Type: image.Fixed32, Card: image.Repeated, MaxItems: 3},
			{Number: 26, Name: "nested", Type: image.Nested, Card: image.Optional, Message: 1, MaxLen: 1000},
			{Number: 27, Name: "many", Type: image.Nested, Card: image.Repeated, Message: 2, MaxLen: 100, MaxItems: 3},
			{Number: 5000, Name: "far", Type: image.Bool},
		}},
		{Name: "test.v1.Nested", Fields: []image.Field{
			{Number: 1, Name: "id", Type: image.Uint32, Card: image.Optional, Required: true},
			{Number: 2, Name: "down", Type: image.Nested, Card: image.Optional, Message: 3, MaxLen: 1000},
			{Number: 3, Name: "pair", Type: image.Uint32, Card: image.Repeated, MinItems: 2, MaxItems: 2},
		}},
		{Name: "test.v1.Choice", Fields: []image.Field{
			{Number: 1, Name: "a", Type: image.Bool, Card: image.Optional, Oneof: 1},
			{Number: 2, Name: "b", Type: image.Bool, Card: image.Optional, Oneof: 1},
			{Number: 3, Name: "n", Type: image.Uint32, HasRange: true, Min: 1, Max: 5},
			{Number: 4, Name: "list", Type: image.Uint32, Card: image.Repeated, MaxItems: 2},
		}, Required: []image.Oneof{{Name: "which", Fields: []uint32{0, 1}}}},
	}
	// test.v1.D1 to D7: a chain below Nested.down, the deepest that a filter walks.
	for i := range 7 {
		m := image.Message{Name: "test.v1.D", Fields: []image.Field{{Number: 1, Name: "leaf", Type: image.Bool}}}
		if i < 6 {
			m.Fields = append(m.Fields, image.Field{Number: 2, Name: "down", Type: image.Nested, Card: image.Optional, Message: uint32(len(img.Messages) + 1), MaxLen: 1000})
		}
		img.Messages = append(img.Messages, m)
	}
	// A message whose rows are searched, within one whose rows are, and one without fields.
	n := uint32(len(img.Messages))
	img.Messages = append(img.Messages, image.Message{Name: "test.v1.Sparse", Fields: []image.Field{
		{Number: 300, Name: "a", Type: image.Bool},
		{Number: 5000, Name: "b", Type: image.Nested, Card: image.Optional, Message: n + 1, MaxLen: 100},
	}}, image.Message{Name: "test.v1.Empty"})
	all0 := &img.Messages[0]
	all0.Fields = slices.Insert(all0.Fields, len(all0.Fields)-1,
		image.Field{Number: 28, Name: "sparse_message", Type: image.Nested, Card: image.Optional, Message: n, MaxLen: 100})
	img.Interfaces[0].Methods = []image.Method{{Name: "All", Request: 0, Reply: 0}}
	img.Routes[0].Methods = []image.MethodPolicy{all}
	return img
}

// deep is a chain of n nested messages below field 2, with a leaf.
func deep(n int) []byte {
	if n == 0 {
		return vint(1, 1)
	}
	return lend(2, string(deep(n-1)))
}

// bodyCases is each way in which a body can be wrong, and right ones beside it.
var bodyCases = []struct {
	name   string
	body   []byte
	reason abi.Reason // 0: admitted
	field  uint32
}{
	{"empty", nil, 0, 0},
	{"int32", vint(1, 1000), 0, 0},
	{"int32 negative", vint(1, signedBits(-1000)), 0, 0},
	{"int32 above", vint(1, 1001), abi.ReasonBounds, 1},
	{"int32 below", vint(1, signedBits(-1001)), abi.ReasonBounds, 1},
	{"int32 not sign-extended", vint(1, 0xffffffff), abi.ReasonWidth, 1},
	{"int32 of 2^32", vint(1, 1<<32), abi.ReasonWidth, 1},
	{"int64 min", vint(2, 1<<63), 0, 0},
	{"uint32 max", vint(3, math.MaxUint32), 0, 0},
	{"uint32 of 2^32", vint(3, 1<<32), abi.ReasonWidth, 3},
	{"uint64 of 2^63-1", vint(4, math.MaxInt64), 0, 0},
	{"uint64 of 2^63", vint(4, 1<<63), abi.ReasonBounds, 4},
	{"sint32 -5", vint(5, protowire.EncodeZigZag(-5)), 0, 0},
	{"sint32 -6", vint(5, protowire.EncodeZigZag(-6)), abi.ReasonBounds, 5},
	{"sint32 beyond 32 bits", vint(5, 1<<32), abi.ReasonWidth, 5},
	{"sint64 min", vint(6, math.MaxUint64), 0, 0},
	{"fixed32", f(7, protowire.Fixed32Type, 100, 0, 0, 0), 0, 0},
	{"fixed32 above", f(7, protowire.Fixed32Type, 101, 0, 0, 0), abi.ReasonBounds, 7},
	{"fixed32 short", f(7, protowire.Fixed32Type, 1, 0, 0), abi.ReasonTruncated, 7},
	{"fixed64", f(8, protowire.Fixed64Type, 100, 0, 0, 0, 0, 0, 0, 0), 0, 0},
	{"fixed64 above", f(8, protowire.Fixed64Type, 0, 0, 0, 0, 0, 0, 0, 1), abi.ReasonBounds, 8},
	{"sfixed32 -1", f(9, protowire.Fixed32Type, 255, 255, 255, 255), 0, 0},
	{"sfixed32 -2", f(9, protowire.Fixed32Type, 254, 255, 255, 255), abi.ReasonBounds, 9},
	{"sfixed64 -1", f(10, protowire.Fixed64Type, 255, 255, 255, 255, 255, 255, 255, 255), 0, 0},
	{"sfixed64 2", f(10, protowire.Fixed64Type, 2, 0, 0, 0, 0, 0, 0, 0), abi.ReasonBounds, 10},
	{"bool true", vint(11, 1), 0, 0},
	{"bool of 2", vint(11, 2), abi.ReasonWidth, 11},
	{"enum negative", vint(12, signedBits(-2)), 0, 0},
	{"enum 5", vint(12, 5), 0, 0},
	{"enum undefined between", vint(12, 2), abi.ReasonEnum, 12},
	{"enum undefined above", vint(12, 6), abi.ReasonEnum, 12},
	{"enum not sign-extended", vint(12, 0xfffffffe), abi.ReasonWidth, 12},
	{"sparse enum", vint(13, 100000), 0, 0},
	{"sparse enum undefined", vint(13, 1001), abi.ReasonEnum, 13},
	{"float", f(14, protowire.Fixed32Type, protowire.AppendFixed32(nil, math.Float32bits(2.5))...), 0, 0},
	{"float -0", f(14, protowire.Fixed32Type, 0, 0, 0, 0x80), 0, 0},
	{"float above", f(14, protowire.Fixed32Type, protowire.AppendFixed32(nil, math.Float32bits(2.6))...), abi.ReasonBounds, 14},
	{"float below", f(14, protowire.Fixed32Type, protowire.AppendFixed32(nil, math.Float32bits(-0.11))...), abi.ReasonBounds, 14},
	{"float NaN", f(14, protowire.Fixed32Type, protowire.AppendFixed32(nil, math.Float32bits(float32(math.NaN())))...), abi.ReasonBounds, 14},
	{"double -0", f(15, protowire.Fixed64Type, protowire.AppendFixed64(nil, 1<<63)...), 0, 0},
	{"double 1", f(15, protowire.Fixed64Type, protowire.AppendFixed64(nil, math.Float64bits(1))...), 0, 0},
	{"double negative", f(15, protowire.Fixed64Type, protowire.AppendFixed64(nil, math.Float64bits(-5e-324))...), abi.ReasonBounds, 15},
	{"double NaN", f(15, protowire.Fixed64Type, protowire.AppendFixed64(nil, math.Float64bits(-math.NaN()))...), abi.ReasonBounds, 15},
	{"string", lend(16, "größe ☃ 𝄞"), 0, 0},
	{"string of 100 runes", lend(16, strings.Repeat("ü", 100)), 0, 0},
	{"string of 101 runes", lend(16, strings.Repeat("a", 101)), abi.ReasonBounds, 16},
	{"string too long", lend(16, strings.Repeat("ü", 101)), abi.ReasonBounds, 16},
	{"string ends in a rune", lend(16, "aaaaaaaaaaa\xc3"), abi.ReasonUTF8, 16},
	{"string with a stray byte", lend(16, "a\x80b"), abi.ReasonUTF8, 16},
	{"string overlong", lend(16, "\xc0\xaf"), abi.ReasonUTF8, 16},
	{"string surrogate", lend(16, "\xed\xa0\x80"), abi.ReasonUTF8, 16},
	{"string beyond U+10FFFF", lend(16, "\xf4\x90\x80\x80"), abi.ReasonUTF8, 16},
	{"string 0xff late", lend(16, strings.Repeat("a", 70)+"\xff"), abi.ReasonUTF8, 16},
	{"bytes", lend(17, "\xff\x00"), 0, 0},
	{"bytes too long", lend(17, "01234567890"), abi.ReasonBounds, 17},
	{"class", lend(18, "valid-name-09"), 0, 0},
	{"class: path traversal", lend(18, "../shadow"), abi.ReasonBounds, 18},
	{"class: not ASCII", lend(18, "ü"), abi.ReasonBounds, 18},
	{"in", lend(19, "www"), 0, 0},
	{"in long", lend(19, strings.Repeat("x", 33)+"b"), 0, 0},
	{"in: not", lend(19, "wwx"), abi.ReasonBounds, 19},
	{"in: not long", lend(19, strings.Repeat("x", 33)+"c"), abi.ReasonBounds, 19},
	{"affix", lend(20, "pre-x.org"), 0, 0},
	{"affix overlap", lend(20, "pre-.org"), 0, 0},
	{"affix: no prefix", lend(20, "prx-x.org"), abi.ReasonBounds, 20},
	{"affix: no suffix", lend(20, "pre-x.orh"), abi.ReasonBounds, 20},
	{"affix: short", lend(20, "pre"), abi.ReasonBounds, 20},
	{"oneof", vint(21, 7), 0, 0},
	{"oneof: two members", cat(vint(21, 7), lend(22, "x")), abi.ReasonDuplicate, 22},
	{"duplicate", cat(vint(3, 7), vint(3, 7)), abi.ReasonDuplicate, 3},
	{"packed", lend(23, "\x01\x02\xe8\x07"), 0, 0},
	{"packed: element out of bounds", lend(23, "\x01\xe9\x07"), abi.ReasonBounds, 23},
	{"packed: element overlong", lend(23, "\x81\x00"), abi.ReasonVarint, 23},
	{"packed: cut", lend(23, "\x01\x80"), abi.ReasonTruncated, 23},
	{"packed: too many", lend(23, "\x01\x01\x01\x01\x01"), abi.ReasonBounds, 23},
	{"packed: empty", lend(23, ""), abi.ReasonBounds, 23},
	{"unpacked", cat(vint(23, 1), vint(23, 2)), 0, 0},
	{"unpacked: too many", cat(vint(23, 1), vint(23, 2), vint(23, 1), vint(23, 2), vint(23, 0)), abi.ReasonBounds, 23},
	{"packed and unpacked", cat(lend(23, "\x01\x02"), vint(23, 2)), 0, 0},
	{"interrupted", cat(vint(23, 1), vint(3, 1), vint(23, 1)), abi.ReasonDuplicate, 23},
	{"strings", cat(lend(24, "a"), lend(24, ""), lend(24, "ccccc")), 0, 0},
	{"strings: too many", cat(lend(24, "a"), lend(24, ""), lend(24, "c"), lend(24, "c")), abi.ReasonBounds, 24},
	{"strings: one too long", cat(lend(24, "a"), lend(24, "123456")), abi.ReasonBounds, 24},
	{"strings: not packed", vint(24, 1), abi.ReasonWireType, 24},
	{"fixeds", lend(25, "\x01\x00\x00\x00\x02\x00\x00\x00"), 0, 0},
	{"fixeds: cut", lend(25, "\x01\x00\x00\x00\x02\x00"), abi.ReasonTruncated, 25},
	{"nested", lend(26, string(cat(vint(1, 9), lend(3, "\x01\x02")))), 0, 0},
	{"nested: required missing", lend(26, string(lend(3, "\x01\x02"))), abi.ReasonRequired, 1},
	{"nested: too few", lend(26, string(cat(vint(1, 9), lend(3, "\x01")))), abi.ReasonBounds, 3},
	{"nested: none at all", lend(26, string(vint(1, 9))), abi.ReasonBounds, 3},
	{"nested: too few, interrupted", lend(26, string(cat(vint(3, 9), vint(1, 1), vint(3, 9)))), abi.ReasonBounds, 3},
	{"nested: reaches beyond its parent", f(26, protowire.BytesType, 5, 8, 1), abi.ReasonTruncated, 26},
	{"nested: a field reaches beyond it", cat(f(26, protowire.BytesType, 3, 8, 1, 26), vint(3, 1), vint(11, 1)), abi.ReasonTruncated, 3},
	{"nested eight deep", lend(26, string(cat(vint(1, 9), lend(2, string(deep(6))), lend(3, "\x01\x02")))), 0, 0},
	{"nested too deep", lend(26, string(cat(vint(1, 9), lend(2, string(deep(7))), lend(3, "\x01\x02")))), abi.ReasonUnknownField, 2},
	{"many", cat(lend(27, string(cat(vint(1, 1), vint(3, 1)))), lend(27, string(cat(vint(2, 1), vint(3, 5), lend(4, "\x01\x02"))))), 0, 0},
	{"many: counters are per message", cat(lend(27, string(cat(vint(1, 1), vint(3, 1), lend(4, "\x01\x02")))), lend(27, string(cat(vint(1, 1), vint(3, 1), lend(4, "\x01\x02"))))), 0, 0},
	{"many: no member of a required oneof", lend(27, string(vint(3, 1))), abi.ReasonRequired, 0},
	{"many: zero out of bounds", lend(27, string(vint(1, 1))), abi.ReasonBounds, 3},
	{"far field", vint(5000, 1), 0, 0},
	{"unknown field", vint(29, 1), abi.ReasonUnknownField, 29},
	{"unknown far field", vint(4999, 1), abi.ReasonUnknownField, 4999},
	{"field 0", []byte{0, 1}, abi.ReasonUnknownField, 0},
	{"group", []byte{1<<3 | 3, 1<<3 | 4}, abi.ReasonWireType, 1},
	{"end of a group", []byte{1<<3 | 4}, abi.ReasonWireType, 1},
	{"reserved wire type", []byte{1<<3 | 7, 0}, abi.ReasonWireType, 1},
	{"wrong wire type", lend(3, "x"), abi.ReasonWireType, 3},
	{"varint of eleven bytes", f(2, protowire.VarintType, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1), abi.ReasonVarint, 2},
	{"varint overflows", f(2, protowire.VarintType, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2), abi.ReasonVarint, 2},
	{"varint overlong", f(2, protowire.VarintType, 0x81, 0), abi.ReasonVarint, 2},
	{"varint overlong, ten bytes", f(2, protowire.VarintType, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0), abi.ReasonVarint, 2},
	{"tag overlong", []byte{0x90, 0, 1}, abi.ReasonVarint, 0},
	{"length overlong", f(16, protowire.BytesType, 0x81, 0, 'a'), abi.ReasonVarint, 16},
	{"truncated varint", f(2, protowire.VarintType, 0x80), abi.ReasonTruncated, 2},
	{"no value", f(2, protowire.VarintType), abi.ReasonTruncated, 2},
	{"truncated string", f(16, protowire.BytesType, 5, 'a'), abi.ReasonTruncated, 16},
	{"length of 2^63", f(16, protowire.BytesType, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1), abi.ReasonTruncated, 16},
	{"sparse message", lend(28, string(cat(vint(300, 1), lend(5000, "")))), 0, 0},
	{"sparse message: number of the message around it", lend(28, string(lend(28, ""))), abi.ReasonUnknownField, 28},
	{"message without fields", lend(28, string(lend(5000, string(vint(300, 1))))), abi.ReasonUnknownField, 300},
	{"trailing bytes", cat(vint(3, 1), []byte{0x80}), abi.ReasonTruncated, 0},
}

func TestBodyRules(t *testing.T) {
	g := newGateTest(t, allImage(), FabricConfig{Gates: 4, Programs: 4})
	raw := newRawPair(t)
	for i, c := range bodyCases {
		t.Run(c.name, func(t *testing.T) {
			g.t = t
			slot := uint16(i % abi.Slots)
			gen := uint16(1000 + i)
			msg := message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: gen}, c.body)
			// The control: without a filter the same bytes arrive.
			if got := raw.send(t, msg); !bytes.Equal(got, msg) {
				t.Fatalf("control: received %x", got)
			}
			got := g.send(abi.Request, msg)
			v := g.verdict(abi.Request, slot)
			want := abi.MakeVerdictWord(gen, c.reason, abi.KindCall, c.field)
			if c.reason == 0 {
				want = abi.MakeVerdictWord(gen, abi.ReasonPermit, abi.KindCall, 0)
			}
			if v != want {
				t.Errorf("verdict: reason %d field %d gen %d, want reason %d field %d", v.Reason(), v.Detail(), v.Gen(), want.Reason(), want.Detail())
			}
			if admitted := bytes.Equal(got, msg); admitted != (c.reason == 0) || !admitted && got != nil {
				t.Errorf("received %x of %x", got, msg)
			}
			if c.reason != 0 {
				// The slot of a denied call is still free.
				if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: gen}, nil)); got == nil {
					t.Fatal("a denied call took its slot")
				}
			}
			// The same body in a reply: whole or its header.
			reply := message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: gen}, c.body)
			got = g.send(abi.Reply, reply)
			if c.reason == 0 && !bytes.Equal(got, reply) || c.reason != 0 && !bytes.Equal(got, reply[:abi.HeaderSize]) {
				t.Errorf("reply: received %x", got)
			}
			if v := g.verdict(abi.Reply, slot); c.reason != 0 && v.Reason() != c.reason {
				t.Errorf("verdict of the reply: reason %d", v.Reason())
			}
		})
	}
}

// rawPair is a socket pair without filters: the control of an attack.
type rawPair [2]int

func newRawPair(t testing.TB) rawPair {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

func (r rawPair) send(t testing.TB, b []byte) []byte {
	t.Helper()
	if _, err := unix.Write(r[0], b); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(b)+1)
	n, err := unix.Read(r[1], buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestFieldLimit(t *testing.T) {
	img := echoImage()
	img.Messages[0].Fields = []image.Field{{Number: 1, Name: "n", Type: image.Nested, Card: image.Repeated, Message: 1, MaxLen: 10, MaxItems: 60000}}
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
	body := bytes.Repeat(lend(1, ""), filter.MaxFields)
	if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, body)); got == nil {
		t.Errorf("%d fields: denied, reason %d", filter.MaxFields, g.verdict(abi.Request, 0).Reason())
	}
	body = append(body, lend(1, "")...)
	g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, body))
	if v := g.verdict(abi.Request, 1); v.Reason() != abi.ReasonTooMany {
		t.Errorf("%d fields: reason %d", filter.MaxFields+1, v.Reason())
	}
}

func TestLargestMessage(t *testing.T) {
	img := echoImage()
	img.Messages[0].Fields[1].MaxLen = abi.MaxMessage
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
	for _, c := range []struct {
		size   int
		reason abi.Reason
	}{{abi.MaxMessage, abi.ReasonPermit}, {abi.MaxMessage + 1, abi.ReasonLength}} {
		body := lend(2, strings.Repeat("ü", (c.size-abi.HeaderSize-4)/2))
		for len(body) < c.size-abi.HeaderSize {
			body = lend(2, strings.Repeat("ü", (c.size-abi.HeaderSize-4)/2)+strings.Repeat("a", c.size-abi.HeaderSize-len(body)))
		}
		slot := uint16(c.reason)
		g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1, Slot: slot}, body))
		if v := g.verdict(abi.Request, slot); v.Reason() != c.reason || len(body) != c.size-abi.HeaderSize {
			t.Errorf("message of %d bytes: reason %d", len(body)+abi.HeaderSize, v.Reason())
		}
	}
}

func TestFilterCannotBeTakenAway(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	raw := newRawPair(t)
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}}
	prog := unix.SockFprog{Len: 1, Filter: &drop[0]}
	for _, c := range []struct {
		name string
		do   func(fd int) error
	}{
		{"replace", func(fd int) error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
		}},
		{"detach", func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }},
		{"unlock", func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 0) }},
	} {
		if err := c.do(raw[1]); err != nil {
			t.Errorf("control: %s on a socket without a lock: %v", c.name, err)
		}
		for _, end := range []*os.File{g.gate.Client, g.gate.Server} {
			if err := c.do(int(end.Fd())); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: %v, want EPERM", c.name, err)
			}
		}
	}
}

func TestPageIsReadOnly(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	fd := int(g.client.Page().Fd())
	if b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EPERM) {
		unix.Munmap(b)
		t.Errorf("map the page for writing: %v, want EPERM", err)
	}
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); !errors.Is(err, unix.EACCES) {
		t.Errorf("make the mapping writable: %v, want EACCES", err)
	}
	if err := g.client.page.Put(uint32(0), uint64(1)); !errors.Is(err, unix.EPERM) {
		t.Errorf("write the page by bpf(2): %v, want EPERM", err)
	}
	// The control: a map that is not frozen takes all of it.
	if err := g.f.gates.Put(uint32(1), make([]byte, gateRow)); err != nil {
		t.Errorf("control: write a map that is not frozen: %v", err)
	}
}
