package kernel

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/image"
)

// A message whose field numbers are far apart is searched, not indexed. A number
// below its lowest must not be taken for the field that was found last, in another message.
func TestUnknownFieldOfSparseMessage(t *testing.T) {
	img := echoImage()
	img.Messages[0].Fields = []image.Field{
		{Number: 3, Name: "inner", Type: image.Nested, Card: image.Optional, Message: 2, MaxLen: 100},
		{Number: 5000, Name: "far", Type: image.Uint32},
	}
	img.Messages = append(img.Messages, image.Message{Name: "test.v1.Inner", Fields: []image.Field{
		{Number: 4000, Name: "must", Type: image.Uint32, Card: image.Optional, Required: true},
		{Number: 5000, Name: "may", Type: image.Uint32},
	}})
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	for i, c := range []struct {
		name   string
		body   []byte
		reason abi.Reason
		field  uint32
	}{
		{"control: known fields", cat(lend(3, string(vint(4000, 7))), vint(5000, 1)), abi.ReasonPermit, 0},
		{"control: the required field is missing", lend(3, ""), abi.ReasonRequired, 4000},
		{"first field, of no message yet", vint(1, 1), abi.ReasonUnknownField, 1},
		{"field 0", vint(0, 1), abi.ReasonUnknownField, 0},
		{"number of the message around it", lend(3, string(lend(3, ""))), abi.ReasonUnknownField, 3},
		{"the same, for a required field", lend(3, string(lend(3, string(vint(4000, 7))))), abi.ReasonUnknownField, 3},
		{"after a known field", cat(vint(5000, 1), vint(1, 1)), abi.ReasonUnknownField, 1},
		{"above the highest", vint(5001, 1), abi.ReasonUnknownField, 5001},
		{"between two", vint(4, 1), abi.ReasonUnknownField, 4},
		{"the highest number of all", vint(1<<29-1, 1), abi.ReasonUnknownField, 1<<29 - 1},
	} {
		slot := uint16(i)
		got := g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, c.body))
		if v := g.verdict(abi.Request, slot); v.Reason() != c.reason || v.Detail() != c.field || (got != nil) != c.reason.Allowed() {
			t.Errorf("%s: received %x: %v, detail %d", c.name, got, v.Reason(), v.Detail())
		}
	}
}

// A message without fields has none, whatever was found before and whatever row comes next in the table.
func TestUnknownFieldOfEmptyMessage(t *testing.T) {
	img := echoImage()
	img.Messages[0].Fields = nil
	img.Messages[1].Fields = []image.Field{{Number: 2, Name: "inner", Type: image.Nested, Card: image.Optional, Message: 0, MaxLen: 100}}
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	for num := range 5 {
		slot := uint16(num)
		if num == 0 {
			g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, nil))
		} else {
			g.mustDeny(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, vint(protowire.Number(num), 1)), abi.ReasonUnknownField)
			g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, nil))
		}
		got := g.send(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: 1}, lend(2, string(lend(protowire.Number(num+1), "")))))
		if v := g.verdict(abi.Reply, slot); v.Reason() != abi.ReasonUnknownField || len(got) != abi.HeaderSize {
			t.Errorf("field %d: received %x: %v", num+1, got, v.Reason())
		}
	}
}

// The fault of a text is told as such whatever the number of its field: also
// one whose low byte is 0.
func TestFaultOfFieldWithRoundNumber(t *testing.T) {
	img := echoImage()
	numbers := []uint32{255, 256, 257, 512, 65536}
	img.Messages[0].Fields = nil
	for _, n := range numbers {
		img.Messages[0].Fields = append(img.Messages[0].Fields, image.Field{Number: n, Name: "text", Type: image.String, MaxLen: 10, In: []string{"", "a"}})
	}
	img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.True}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	for i, n := range numbers {
		slot := uint16(i)
		g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, lend(protowire.Number(n), "b")))
		if v := g.verdict(abi.Request, slot); v.Reason() != abi.ReasonBounds || v.Detail() != n {
			t.Errorf("field %d: %v, detail %d", n, v.Reason(), v.Detail())
		}
		g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, lend(protowire.Number(n), "a")))
	}
}
