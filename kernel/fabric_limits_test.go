package kernel

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// TestStepLimit: a message that takes more steps than the filter walks is
// denied, however well the part looks that was walked. The control is one of
// as many steps as there may be.
func TestStepLimit(t *testing.T) {
	img := echoImage()
	img.Messages[0].Fields = []image.Field{{Number: 1, Name: "n", Type: image.Bool, Card: image.Repeated, HasRange: true, Max: 1, MaxItems: 60000}}
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
	// Two steps go to the tag with its length, and to the end of the message.
	for slot, c := range []struct {
		items  int
		reason abi.Reason
	}{{filter.MaxSteps - 2, abi.ReasonPermit}, {filter.MaxSteps + 1, abi.ReasonTooMany}} {
		body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), make([]byte, c.items))
		got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: uint16(slot), Gen: 1}, body))
		if v := g.verdict(abi.Request, uint16(slot)); v.Reason() != c.reason || (got != nil) != c.reason.Allowed() {
			t.Errorf("%d elements: %v, received %d bytes; want %v", c.items, v.Reason(), len(got), c.reason)
		}
	}
}

// TestAbsentMeansZero: a field that is absent has its zero value, and that is
// out of bounds if the bounds leave it out, by however little.
func TestAbsentMeansZero(t *testing.T) {
	minus := int64(-1)
	for _, c := range []struct {
		name  string
		field image.Field
		fits  []byte // on the wire: a value within the bounds
		zero  bool   // within them, too
	}{
		{"at least 1", image.Field{Type: image.Int32, HasRange: true, Min: 1, Max: 9}, []byte{8, 1}, false},
		{"at least 0", image.Field{Type: image.Int32, HasRange: true, Min: 0, Max: 9}, []byte{8, 1}, true},
		{"at most -1", image.Field{Type: image.Sint64, HasRange: true, Min: 1 << 63, Max: uint64(minus)}, []byte{8, 1}, false},
		{"at most 0", image.Field{Type: image.Sint64, HasRange: true, Min: 1 << 63, Max: 0}, []byte{8, 1}, true},
		{"unsigned, at least 1", image.Field{Type: image.Uint64, HasRange: true, Min: 1, Max: 9}, []byte{8, 1}, false},
		{"one character", image.Field{Type: image.String, MinRunes: 1, MaxRunes: 9, MaxLen: 9}, []byte{10, 1, 'a'}, false},
		{"one byte", image.Field{Type: image.Bytes, MinLen: 1, MaxLen: 9}, []byte{10, 1, 'a'}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := echoImage()
			c.field.Number, c.field.Name = 1, "f"
			img.Messages[0].Fields = []image.Field{c.field}
			img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
			g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
			g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, c.fits))
			if v := g.verdict(abi.Request, 0); v.Reason() != abi.ReasonPermit {
				t.Errorf("control, within the bounds: %v", v.Reason())
			}
			g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}, nil))
			want := abi.ReasonBounds
			if c.zero {
				want = abi.ReasonPermit
			}
			if v := g.verdict(abi.Request, 1); v.Reason() != want {
				t.Errorf("absent: %v, want %v", v.Reason(), want)
			}
		})
	}
}
