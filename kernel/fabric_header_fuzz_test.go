package kernel

import (
	"encoding/binary"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// FuzzHeader: whatever the filter of a unary method admits has a header that a
// reader of docs/protocol.md would accept, in both directions. The call table
// holds exactly one pending call for a reply, and none for a request.
func FuzzHeader(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: loads BPF programs")
	}
	g := newGateTest(f, echoImage(), FabricConfig{Gates: 4, Programs: 8})
	g.open()
	var side [2]*Runner
	for dir := range side {
		r, err := g.gate.Runner(abi.Direction(dir))
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { r.Close() })
		side[dir] = r
	}
	run := func(t *testing.T, dir abi.Direction, packet []byte) bool {
		ret, _, err := side[dir].Run(packet, 1)
		if err != nil {
			t.Fatal(err)
		}
		return ret == -1
	}
	const slot, gen = 7, 99
	call := message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: gen}, nil)
	end := func(s, n uint16) []byte { return message(abi.Header{Kind: abi.KindError, Slot: s, Gen: n}, nil) }

	f.Add(false, call)
	f.Add(true, end(slot, gen))
	f.Add(true, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: gen}, []byte{8, 1}))
	f.Add(false, message(abi.Header{Kind: abi.KindCall, Slot: 63, Gen: 1, Deadline: 5}, []byte{8, 1, 18, 1, 'x'}))
	f.Add(false, message(abi.Header{Kind: abi.KindCall, Flags: abi.FlagMetadata}, []byte{0, 0}))
	f.Add(false, message(abi.Header{Kind: abi.KindCancel, Slot: slot, Gen: gen}, nil))
	f.Add(true, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: gen, Deadline: 1}, []byte{8, 1}))
	f.Fuzz(func(t *testing.T, reply bool, packet []byte) {
		if len(packet) == 0 || len(packet) > 3500 { // what a test run takes
			return
		}
		dir := abi.Request
		if reply {
			dir = abi.Reply
			if !run(t, abi.Request, call) {
				t.Fatal("the call that is to be answered was denied: the table is not as it should be")
			}
		}
		admitted := run(t, dir, packet)
		h, err := abi.ParseHeader(packet)
		if admitted {
			switch {
			case err != nil:
				t.Errorf("admitted: %v", err)
			case h.Method != 0 || h.Slot >= abi.Slots || int(h.Length) != len(packet)-abi.HeaderSize || h.Flags&^abi.FlagsKnown != 0:
				t.Errorf("admitted: %+v", h)
			case !reply && h.Kind != abi.KindCall:
				t.Errorf("admitted from a client without a pending call: %+v", h)
			case reply && (h.Kind != abi.KindReply && h.Kind != abi.KindError || h.Slot != slot || h.Gen != gen || h.Deadline != 0):
				t.Errorf("admitted as an answer: %+v", h)
			}
			wellFormed(t, h, packet[abi.HeaderSize:])
		}
		// Whatever is pending ends, so that the next packet finds an empty table.
		if admitted && !reply {
			if !run(t, abi.Reply, end(h.Slot, h.Gen)) {
				t.Error("a call that was admitted cannot be ended")
			}
		} else if reply {
			run(t, abi.Reply, end(slot, gen)) // denied if the packet has ended it
			if run(t, abi.Reply, end(slot, gen)) {
				t.Error("a call was ended twice")
			}
		}
	})
}

// wellFormed: the payload is an empty metadata section, if any (the system
// declares no keys), and protobuf fields to the last byte.
func wellFormed(t *testing.T, h abi.Header, payload []byte) {
	if h.Flags&abi.FlagMetadata != 0 {
		if len(payload) < 2 || binary.LittleEndian.Uint16(payload) != 0 {
			t.Errorf("admitted with metadata that nobody declared: %x", payload)
			return
		}
		payload = payload[2:]
	}
	for len(payload) > 0 {
		_, _, n := protowire.ConsumeField(payload)
		if n < 0 {
			t.Errorf("admitted with a body that is no protobuf message: %x", payload)
			return
		}
		payload = payload[n:]
	}
}
