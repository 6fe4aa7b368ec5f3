package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// fuzzPaths is what the policy of the fuzzed method looks at: eight
// parameters, as many as an audit record carries.
var fuzzPaths = [][]uint32{{1}, {5}, {9}, {13}, {16}, {20}, {26, 1}, {23}}

// fuzzImage is allImage with a client stream, so that one pending call admits
// any number of messages, and a condition that looks at the parameters at paths
// (the first of which is there once at most) and always holds.
func fuzzImage(paths [][]uint32) *image.Image {
	img := allImage()
	img.Interfaces[0].Methods[0].ClientStream = true
	var looks []image.Expr
	for _, p := range paths {
		if p[0] >= 23 && p[0] <= 25 {
			looks = append(looks, image.Expr{Op: image.Less, Left: image.Operand{What: image.Count, Path: p}, Right: image.Operand{Value: image.Value{Long: -1}}})
			continue
		}
		looks = append(looks, image.Expr{Op: image.Has, Path: p})
	}
	looks = append(looks, image.Expr{Op: image.Not, Args: []image.Expr{{Op: image.Has, Path: paths[0]}}})
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.Or, Args: looks}
	return img
}

// descriptorOf makes a protobuf descriptor of the first message of an image.
func descriptorOf(t testing.TB, img *image.Image) protoreflect.MessageDescriptor {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("fuzz.proto"), Package: proto.String("fuzz"), Syntax: proto.String("proto3")}
	types := map[image.Type]descriptorpb.FieldDescriptorProto_Type{
		image.Int32: 5, image.Int64: 3, image.Uint32: 13, image.Uint64: 4, image.Sint32: 17, image.Sint64: 18,
		image.Fixed32: 7, image.Fixed64: 6, image.Sfixed32: 15, image.Sfixed64: 16, image.Bool: 8, image.Enum: 14,
		image.Float: 2, image.Double: 1, image.String: 9, image.Bytes: 12, image.Nested: 11,
	}
	for i, m := range img.Messages {
		d := &descriptorpb.DescriptorProto{Name: proto.String(fmt.Sprint("M", i))}
		for _, f := range m.Fields {
			fd := &descriptorpb.FieldDescriptorProto{Name: proto.String(f.Name), Number: proto.Int32(int32(f.Number)),
				Type: types[f.Type].Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
			switch {
			case f.Card == image.Repeated:
				fd.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			case f.Oneof != 0:
				fd.OneofIndex = proto.Int32(0)
				if len(d.OneofDecl) == 0 {
					d.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("choice")}}
				}
			}
			if f.Type == image.Nested {
				fd.TypeName = proto.String(fmt.Sprint(".fuzz.M", f.Message))
			}
			if f.Type == image.Enum {
				name := fmt.Sprint("E", i, "_", f.Number)
				fd.TypeName = proto.String(".fuzz." + name)
				e := &descriptorpb.EnumDescriptorProto{Name: proto.String(name), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String(name + "_0"), Number: proto.Int32(0)}}}
				file.EnumType = append(file.EnumType, e)
			}
			d.Field = append(d.Field, fd)
		}
		file.MessageType = append(file.MessageType, d)
	}
	fd, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fd.Messages().Get(0)
}

// A differ compares the filter, the model and protobuf's decoder.
type differ struct {
	g      *gateTest
	img    *image.Image
	run    *Runner
	desc   protoreflect.MessageDescriptor
	params []filter.Param
	share  int // bytes of each text that a record has
	admits int
}

func newDiffer(t testing.TB, paths [][]uint32) *differ {
	d := &differ{img: fuzzImage(paths)}
	d.g = newGateTest(t, d.img, FabricConfig{Gates: 2, Programs: 4, AuditAll: true})
	d.desc = descriptorOf(t, d.img)
	d.g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, nil))
	d.g.record(abi.Request)
	d.params = d.g.route.spec.Programs[abi.Request].Params[0]
	if len(d.params) != len(paths) {
		t.Fatalf("the policy looks at %d parameters, want %d", len(d.params), len(paths))
	}
	d.share = abi.RecordText / 2
	if slices.ContainsFunc(paths, func(p []uint32) bool { return p[0] == 18 }) {
		d.share = abi.RecordText / 4
	}
	var err error
	if d.run, err = d.g.gate.Runner(abi.Request); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.run.Close() })
	return d
}

// maxTestRun is the largest packet that a test run takes: less than a page
// with room for what the kernel keeps there.
const maxTestRun = 3500

// compare fails the test if the three do not agree about body.
func (d *differ) compare(t testing.TB, body []byte) {
	t.Helper()
	d.g.t = t
	if len(body) > maxTestRun {
		return
	}
	ret, _, err := d.run.Run(message(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, body), 1)
	if err != nil {
		t.Fatal(err)
	}
	rec := d.g.record(abi.Request)
	// The condition always holds: what the walk passes is admitted.
	walked := rec.Reason == abi.ReasonPermit || rec.Reason == abi.ReasonDefault
	if (ret == -1) != (rec.Reason == abi.ReasonPermit) {
		t.Fatalf("%x: returned %d, reason %d", body, ret, rec.Reason)
	}
	m := &model{img: d.img, caps: map[string]any{}}
	if want := m.message(0, body, 0, ""); want != walked {
		t.Fatalf("%x: the filter says reason %d field %d, the model %v", body, rec.Reason, rec.Detail, want)
	}
	if !walked {
		return
	}
	d.admits++
	msg := dynamicpb.NewMessage(d.desc)
	if err := proto.Unmarshal(body, msg); err != nil {
		t.Fatalf("%x: admitted, but protobuf says %v", body, err)
	}
	unknown(t, body, msg)
	for i, p := range d.params {
		d.param(t, body, msg, rec, i, p)
	}
}

// param compares parameter i of a record with what protobuf and the model read.
func (d *differ) param(t testing.TB, body []byte, msg protoreflect.Message, rec abi.Record, i int, p filter.Param) {
	t.Helper()
	for _, n := range p.Path[:len(p.Path)-1] {
		msg = msg.Get(msg.Descriptor().Fields().ByNumber(protowire.Number(n))).Message()
	}
	fd := msg.Descriptor().Fields().ByNumber(protowire.Number(p.Path[len(p.Path)-1]))
	got := rec.Params[i]
	v := msg.Get(fd)
	var want uint64
	switch {
	case p.Count:
		want = uint64(v.List().Len())
	case p.Text:
		s := v.String()
		if fd.Kind() == protoreflect.BytesKind {
			s = string(v.Bytes())
		}
		if uint64(uint32(got)) != uint64(len(s)) {
			t.Fatalf("%x: %s has %d bytes, the record says %d", body, p.Name, len(s), uint32(got))
		}
		text, _ := filter.Text(d.params, &rec, i)
		if !strings.HasPrefix(s, string(text)) || len(text) < min(len(s), d.share) {
			t.Fatalf("%x: %s is %q, the record says %q", body, p.Name, s, text)
		}
		return
	default:
		switch x := v.Interface().(type) {
		case int32:
			want = uint64(int64(x))
		case int64:
			want = uint64(x)
		case uint32:
			want = uint64(x)
		case uint64:
			want = x
		case bool:
			if x {
				want = 1
			}
		case protoreflect.EnumNumber:
			want = uint64(int64(x))
		default:
			t.Fatalf("%s: %T", p.Name, x)
		}
		if has, present := msg.Has(fd), rec.Present>>i&1 == 1; fd.HasPresence() && has != present || has && !present {
			t.Fatalf("%x: %s present %v, the record says %v", body, p.Name, has, present)
		}
	}
	if got != want {
		t.Fatalf("%x: %s is %d, the record says %d", body, p.Name, want, got)
	}
	if m, ok := d.modelParam(body, p); ok && uint64(m) != got {
		t.Fatalf("%x: %s is %d, the model says %d", body, p.Name, got, m)
	}
}

func (d *differ) modelParam(body []byte, p filter.Param) (int64, bool) {
	m := &model{img: d.img, caps: map[string]any{}}
	m.message(0, body, 0, "")
	v, ok := m.caps["."+p.Name].(int64)
	return v, ok && !p.Count
}

// unknown fails if a message has unknown fields anywhere.
func unknown(t testing.TB, body []byte, m protoreflect.Message) {
	t.Helper()
	if len(m.GetUnknown()) > 0 {
		t.Fatalf("%x: admitted with unknown fields %x in %s", body, m.GetUnknown(), m.Descriptor().Name())
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				unknown(t, body, v.List().Get(i).Message())
			}
		default:
			unknown(t, body, v.Message())
		}
		return true
	})
}

// FuzzBody: what the filter admits is what the rules admit, protobuf decodes
// it, and with the values that the filter saw. Needs root.
func FuzzBody(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: loads BPF programs")
	}
	for _, c := range bodyCases {
		f.Add(c.body)
	}
	d := newDiffer(f, fuzzPaths)
	f.Fuzz(func(t *testing.T, body []byte) { d.compare(t, body) })
}

// differentialRuns is the number of messages of TestDifferential.
const differentialRuns = 40000

func TestDifferential(t *testing.T) {
	d := newDiffer(t, fuzzPaths)
	r := rand.New(rand.NewPCG(2026, 11))
	for range differentialRuns {
		body := randomMessage(r, d.img, 0, 0)
		if r.IntN(3) == 0 {
			body = mutate(r, body)
		}
		d.compare(t, body)
	}
	t.Logf("%d messages, %d of them well-formed", differentialRuns, d.admits)
	if d.admits < differentialRuns/20 {
		t.Errorf("only %d of %d messages were well-formed: the generator tests little", d.admits, differentialRuns)
	}
}

// mutate changes a few bytes.
func mutate(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(2) {
		if len(b) == 0 {
			return []byte{byte(r.Uint32())}
		}
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = b[:i]
		case 2:
			b = append(b[:i:i], append([]byte{byte(r.Uint32())}, b[i:]...)...)
		case 3:
			b = append(b[:i:i], b[i+1:]...)
		}
	}
	return b
}

// randomMessage is a message of a type, most often within its bounds.
func randomMessage(r *rand.Rand, img *image.Image, index uint32, depth int) []byte {
	m := &img.Messages[index]
	var b []byte
	oneof := false
	for i := range m.Fields {
		f := &m.Fields[i]
		need := f.Required || f.MinItems > 0 || f.HasRange && f.Min > 0 && f.Type == image.Uint32 || len(m.Required) > 0 && i == 0
		if !need && r.IntN(4) != 0 || f.Oneof != 0 && oneof && r.IntN(20) != 0 {
			continue
		}
		oneof = oneof || f.Oneof != 0
		n := 1
		if f.Card == image.Repeated {
			n = int(f.MinItems) + r.IntN(int(f.MaxItems-f.MinItems)+1)
			if r.IntN(20) == 0 {
				n = int(f.MaxItems) + 1
			}
			if modelWire(f.Type) != protowire.BytesType && r.IntN(2) == 0 {
				var p []byte
				for range n {
					p = randomScalar(r, f, p)
				}
				b = protowire.AppendBytes(protowire.AppendTag(b, protowire.Number(f.Number), protowire.BytesType), p)
				continue
			}
		}
		for range n {
			b = protowire.AppendTag(b, protowire.Number(f.Number), modelWire(f.Type))
			switch f.Type {
			case image.Nested:
				b = protowire.AppendBytes(b, randomMessage(r, img, f.Message, depth+1))
			case image.String, image.Bytes:
				b = protowire.AppendString(b, randomText(r, f))
			default:
				b = randomScalar(r, f, b)
			}
		}
	}
	return b
}

func randomText(r *rand.Rand, f *image.Field) string {
	if len(f.In) > 0 && r.IntN(10) != 0 {
		return f.In[r.IntN(len(f.In))]
	}
	pieces := []string{"a", "0", "-", "xyz", "ü", "☃", "𝄞", strings.Repeat("b", 20), "\xff", "\xed\xa0\x80"}
	limit := len(pieces)
	if f.Type == image.String && r.IntN(10) != 0 {
		limit -= 2
	}
	if f.Class != [2]uint64{} && r.IntN(10) != 0 {
		limit = 4
	}
	var s string
	for range r.IntN(1 + int(min(f.MaxLen, 12))) {
		s += pieces[r.IntN(limit)]
	}
	if r.IntN(10) != 0 {
		s = f.Prefix + s + f.Suffix
	}
	for len(s) > int(f.MaxLen) && r.IntN(10) != 0 {
		s = s[1:]
	}
	return s
}

// randomScalar appends a number: small, at a bound, beyond one, or any.
func randomScalar(r *rand.Rand, f *image.Field, b []byte) []byte {
	v := uint64(r.IntN(3))
	switch r.IntN(12) {
	case 0:
		v = f.Min
	case 1:
		v = f.Max
	case 2:
		v = f.Max + 1
	case 3:
		v = r.Uint64()
	case 4:
		v = uint64(r.Uint32())
	}
	if len(f.Values) > 0 && r.IntN(10) != 0 {
		v = uint64(f.Values[r.IntN(len(f.Values))])
	}
	switch f.Type {
	case image.Sint32, image.Sint64:
		if r.IntN(4) != 0 {
			v = protowire.EncodeZigZag(int64(v))
		}
	case image.Fixed32, image.Sfixed32:
		return protowire.AppendFixed32(b, uint32(v))
	case image.Float:
		return protowire.AppendFixed32(b, uint32(v)&0xffffff|uint32(r.IntN(3))<<30)
	case image.Fixed64, image.Sfixed64, image.Double:
		return protowire.AppendFixed64(b, v)
	}
	return protowire.AppendVarint(b, v)
}
