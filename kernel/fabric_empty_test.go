package kernel

import (
	"encoding/binary"
	"testing"

	"ward/abi"
	"ward/image"
)

// withMetadata is a metadata section of the first key, to go before a body.
func withMetadata(value string) []byte {
	md := lend(1, value)
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(md))), md...)
}

// The opening of a client's stream and the end of a server's have no body, so
// nothing that a body must have is missing; metadata may come with them.
func TestMetadataWithoutBody(t *testing.T) {
	img := streamImage()
	img.Messages[0].Fields[0].Required = true
	img.Messages[1].Fields[0].Required = true
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	h := func(k abi.Kind) abi.Header {
		return abi.Header{Kind: k, Method: mBoth, Gen: 1, Flags: abi.FlagMetadata}
	}
	g.mustSend(abi.Request, message(h(abi.KindCall), withMetadata("00-1")))
	g.mustDeny(abi.Request, message(h(abi.KindStreamItem), withMetadata("00-1")), abi.ReasonRequired)
	g.mustSend(abi.Request, message(h(abi.KindStreamEnd), withMetadata("00-1")))
	g.mustSend(abi.Reply, message(h(abi.KindStreamEnd), withMetadata("00-1")))
}

// A denied answer that has no body must not look like an admitted one.
func TestDeniedAnswerWithoutBody(t *testing.T) {
	img := streamImage()
	img.Messages[1].Fields = []image.Field{{Number: 1, Name: "must", Type: image.Bool, Card: image.Optional, Required: true}}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	for _, c := range []struct {
		method uint32
		kind   abi.Kind
	}{{mUnary, abi.KindReply}, {mDown, abi.KindStreamItem}} {
		call := abi.Header{Kind: abi.KindCall, Method: c.method, Slot: uint16(c.method), Gen: 1}
		g.mustSend(abi.Request, message(call, nil))
		answer := message(abi.Header{Kind: c.kind, Method: c.method, Slot: call.Slot, Gen: 1}, nil)
		got := g.send(abi.Reply, answer)
		if v := g.verdict(abi.Reply, call.Slot); v.Reason() != abi.ReasonRequired {
			t.Errorf("kind %d: %v", c.kind, v.Reason())
		}
		if string(got) != string(answer[:abi.DeniedSize]) {
			t.Errorf("kind %d: received %x, want its first %d bytes", c.kind, got, abi.DeniedSize)
		}
	}
}
