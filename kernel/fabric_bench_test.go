package kernel

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// scalarsImage is a client stream of messages with n uint32 fields and a string.
func scalarsImage(n int) *image.Image {
	img := echoImage()
	img.Interfaces[0].Methods[0].ClientStream = true
	m := &img.Messages[0]
	m.Fields = nil
	for i := range n {
		m.Fields = append(m.Fields, image.Field{Number: uint32(i + 1), Name: "f", Type: image.Uint32, HasRange: true, Max: 4096})
	}
	m.Fields = append(m.Fields, image.Field{Number: uint32(n + 1), Name: "s", Type: image.String, MaxLen: 65536})
	return img
}

func BenchmarkFilter(b *testing.B) {
	for _, bb := range []struct {
		name   string
		fields int
		text   string
	}{
		{"0", 0, ""}, {"1", 1, ""}, {"2", 2, ""}, {"4", 4, ""}, {"8", 8, ""}, {"16", 16, ""}, {"32", 32, ""},
		{"1+ascii16", 1, strings.Repeat("a", 16)}, {"1+ascii1000", 1, strings.Repeat("a", 1000)}, {"1+ascii3000", 1, strings.Repeat("a", 3000)},
		{"1+utf8x3000", 1, strings.Repeat("ü", 1500)}, {"1+mix3000", 1, strings.Repeat("aaaaaaaaü", 300)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			g := newGateTest(b, scalarsImage(max(bb.fields, 1)), FabricConfig{Gates: 4, Programs: 4})
			if got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, nil)); got == nil {
				b.Fatal("opening denied", g.verdict(abi.Request, 0).Reason())
			}
			var body []byte
			for i := range bb.fields {
				body = protowire.AppendVarint(protowire.AppendTag(body, protowire.Number(i+1), protowire.VarintType), uint64(100+i))
			}
			if bb.text != "" {
				body = protowire.AppendString(protowire.AppendTag(body, protowire.Number(max(bb.fields, 1)+1), protowire.BytesType), bb.text)
			}
			r, err := g.gate.Runner(abi.Request)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			ret, d, err := r.Run(message(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, body), 200000)
			if err != nil || ret != -1 {
				b.Fatal(ret, err, g.verdict(abi.Request, 0).Reason(), g.verdict(abi.Request, 0).Detail())
			}
			b.ReportMetric(float64(d.Nanoseconds()), "ns/msg")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLoad is the cost of a route: both programs verified and loaded.
func BenchmarkLoad(b *testing.B) {
	img := echoImage()
	g := newGateTest(b, img, FabricConfig{Gates: 2, Programs: 4})
	// Equal programs would be shared, not loaded: each names another policy than the last.
	img.Policies = append(img.Policies, image.Policy{ID: "other"})
	specs := [2]*filter.Spec{g.route.spec}
	for _, d := range []*image.Decision{&img.Routes[0].Methods[0].Request, &img.Routes[0].Methods[0].Reply} {
		d.Permit[0].Policy = 2
	}
	var err error
	if specs[1], err = filter.Build(img, 0, filter.Atoms{User: -1}); err != nil {
		b.Fatal(err)
	}
	for i := 1; b.Loop(); i++ {
		if err := g.route.Replace(specs[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is the cost of a gate.
func BenchmarkOpen(b *testing.B) {
	g := newGateTest(b, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	for b.Loop() {
		gate, err := g.f.Open(g.route)
		if err != nil {
			b.Fatal(err)
		}
		gate.Client.Close()
		gate.Server.Close()
		if err := gate.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
