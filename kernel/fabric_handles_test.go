package kernel

import (
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
)

// handleImage is stateImage whose messages have a handle as field 3, and none of
// the bounds that would refuse a bad one before the filter looks it up.
func handleImage(rules ...image.Rule) *image.Image {
	img := stateImage(rules...)
	img.Messages = append(img.Messages, image.Message{Name: image.HandleName, Fields: []image.Field{
		{Number: image.HandleID, Name: "id", Type: image.Uint64, Required: true},
		{Number: image.HandleKind, Name: "kind", Type: image.Enum, Values: []int64{0, 1, 2, 9}},
		{Number: image.HandleSize, Name: "size", Type: image.Uint64},
		{Number: image.HandleWrite, Name: "write", Type: image.Bool, HasRange: true, Max: 1},
	}})
	handle := uint32(len(img.Messages) - 1)
	for i := range img.Messages[:handle] {
		m := &img.Messages[i]
		m.Fields = append(m.Fields, image.Field{Number: 3, Name: "frame", Type: image.Nested, Card: image.Optional, Message: handle, MaxLen: 100})
	}
	return img
}

// handleTest is a stateTest with handles.
func handleTest(t testing.TB, img *image.Image, cfg FabricConfig) *gateTest {
	t.Helper()
	if cfg.Handles == 0 {
		cfg.Handles = 8
	}
	return stateTest(t, img, cfg)
}

// A claim is what a message says of its handle.
type claim struct {
	id, kind, size uint64
	write          bool
}

func (c claim) field() []byte {
	b := cat(vint(image.HandleID, c.id), vint(image.HandleKind, c.kind), vint(image.HandleSize, c.size))
	if c.write {
		b = cat(b, vint(image.HandleWrite, 1))
	}
	return lend(3, string(b))
}

// carry is a message of the first method, with width 0 and a handle.
func carry(kind abi.Kind, slot, gen uint16, c claim) []byte {
	return message(abi.Header{Kind: kind, Slot: slot, Gen: gen}, c.field())
}

// offer makes a handle of 4 KiB, and returns the claim that it fulfils.
func (g *gateTest) offer(dir abi.Direction, write bool) claim {
	g.t.Helper()
	id, err := g.gate.Offer(HandleOffer{Dir: dir, Kind: abi.HandleMemory, Size: 4096, Write: write})
	if err != nil {
		g.t.Fatal(err)
	}
	return claim{id, uint64(abi.HandleMemory), 4096, write}
}

func (g *gateTest) handleIs(id uint64, want HandleState) {
	g.t.Helper()
	if got, err := g.f.Handle(id); err != nil || got != want {
		g.t.Fatalf("handle %d is %v, %v; want %v", id, got, err, want)
	}
}

// mustTake takes a handle that was admitted, once.
func (g *gateTest) mustTake(id uint64) {
	g.t.Helper()
	g.handleIs(id, HandleAdmitted)
	for _, want := range []bool{true, false} {
		if got, err := g.f.TakeHandle(id); err != nil || got != want {
			g.t.Fatalf("take handle %d: %v, %v; want %v", id, got, err, want)
		}
	}
	g.handleIs(id, HandleGone)
}

// A handle goes with each kind of message that has a body, both ways, and can be
// taken once it was admitted; without one, messages pass as ever.
func TestHandleGoesWithMessage(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{AuditAll: true})
	h := func(k abi.Kind, method uint32, slot uint16) abi.Header {
		return abi.Header{Kind: k, Method: method, Slot: slot, Gen: 1}
	}
	for i, c := range []struct {
		dir  abi.Direction
		open []byte // before it
		h    abi.Header
	}{
		{abi.Request, nil, h(abi.KindCall, mUnary, 0)},
		{abi.Reply, message(h(abi.KindCall, mUnary, 1), nil), h(abi.KindReply, mUnary, 1)},
		{abi.Request, message(h(abi.KindCall, mUp, 2), nil), h(abi.KindStreamItem, mUp, 2)},
		{abi.Reply, message(h(abi.KindCall, mDown, 3), nil), h(abi.KindStreamItem, mDown, 3)},
	} {
		if c.open != nil {
			g.mustSend(abi.Request, c.open)
			g.record(abi.Request)
		}
		write := i%2 == 1
		a, b := g.offer(c.dir, write), g.offer(c.dir, write)
		if taken, err := g.f.TakeHandle(a.id); err != nil || taken {
			t.Fatalf("a handle was taken that was only offered: %v", err)
		}
		g.handleIs(a.id, HandleOffered)
		g.mustSend(c.dir, message(c.h, a.field()))
		g.handleIs(b.id, HandleOffered)
		g.mustTake(a.id)
		if r := g.record(c.dir); len(r.Params) < 4 || !slices.Equal(r.Params[len(r.Params)-4:], []uint64{a.id, a.kind, a.size, uint64(i % 2)}) {
			t.Errorf("record %+v of handle %+v", r, a)
		}
		if err := g.f.ForgetHandle(b.id); err != nil {
			t.Fatal(err)
		}
		g.handleIs(b.id, HandleGone)
	}
	for slot := range uint16(20) {
		g.mustSend(abi.Request, unary(20+slot, 1, 0)) // there are fewer handles
	}
}
