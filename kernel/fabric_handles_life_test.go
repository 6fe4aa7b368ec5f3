package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// Handles end with their gate, whether it is revoked or closed, offered or
// admitted; others stay, and their rows are used again under other numbers.
func TestHandlesEndWithGate(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{Gates: 8, Handles: 4})
	stays := *g
	stays.open()
	kept := stays.offer(abi.Request, false)
	for _, c := range []struct {
		name string
		end  func(*Gate) error
	}{{"revoked", (*Gate).Revoke}, {"closed", (*Gate).Close}, {"route closed", func(*Gate) error { return nil }}} {
		if c.name == "route closed" {
			if err := stays.gate.Close(); err != nil {
				t.Fatal(err)
			}
			c.end = func(*Gate) error { return g.route.Close() }
		}
		g.open()
		sent, offered, back := g.offer(abi.Request, true), g.offer(abi.Request, true), g.offer(abi.Reply, true)
		g.mustSend(abi.Request, carry(abi.KindCall, 0, 1, sent))
		if c.name != "route closed" {
			if _, err := g.gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 1}); !errors.Is(err, ErrNoHandles) {
				t.Fatalf("%s: a fifth of four handles: %v", c.name, err)
			}
		}
		if err := c.end(g.gate); err != nil {
			t.Fatal(err)
		}
		for _, h := range []claim{sent, offered, back} {
			g.handleIs(h.id, HandleGone)
			if taken, err := g.f.TakeHandle(h.id); taken || err != nil {
				t.Errorf("%s: a handle was taken: %v", c.name, err)
			}
			if err := g.f.ForgetHandle(h.id); err != nil {
				t.Error(err)
			}
		}
		if _, err := g.gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 1}); err == nil {
			t.Errorf("%s: a handle was offered on it", c.name)
		}
		g.mustDenyGone(carry(abi.KindCall, 1, 1, offered))
		if c.name != "route closed" {
			g.handleIs(kept.id, HandleOffered)
		}
	}
}

// mustDenyGone expects that nothing arrives by a gate that has ended.
func (g *gateTest) mustDenyGone(b []byte) {
	g.t.Helper()
	if got := g.send(abi.Request, b); got != nil {
		g.t.Fatalf("a gate that has ended delivered %x", got)
	}
}

// What is not a handle is not offered.
func TestHandleOffers(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{})
	for _, o := range []HandleOffer{{Size: 1}, {Kind: abi.MaxHandleKind + 1}, {Kind: abi.HandleMemory, Dir: abi.Reply + 1}} {
		if id, err := g.gate.Offer(o); err == nil {
			t.Errorf("%+v is handle %d", o, id)
		}
	}
	for _, id := range []uint64{0, 1, 1 << 16, 1<<16 | 8, 1<<64 - 1} {
		g.handleIs(id, HandleGone)
		if taken, err := g.f.TakeHandle(id); taken || err != nil {
			t.Errorf("handle %#x was taken: %v", id, err)
		}
		if err := g.f.ForgetHandle(id); err != nil {
			t.Error(err)
		}
	}
}

// A handle that is in a message which is being judged ends when that is decided,
// not before: the filter would write into the row of another.
func TestForgetWaitsForFilter(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{})
	for _, then := range []uint64{abi.HandleOffered, abi.HandleAdmitted} {
		a := g.offer(abi.Request, false)
		row := uint32(abi.HandleRow(a.id))
		w, err := g.f.handles.word(row)
		if err != nil {
			t.Fatal(err)
		}
		state := func(s uint64) abi.HandleWord { return w&^abi.HandleStates | abi.HandleWord(s) }
		// As a filter does.
		if done, err := g.f.handles.change(row, w, state(abi.HandleReserved)); !done || err != nil {
			t.Fatal(done, err)
		}
		g.handleIs(a.id, HandleOffered)
		if taken, err := g.f.TakeHandle(a.id); taken || err != nil {
			t.Fatalf("a reserved handle was taken: %v", err)
		}
		if err := g.f.ForgetHandle(a.id); !errors.Is(err, ErrRace) {
			t.Fatalf("a reserved handle was forgotten: %v", err)
		}
		ended := make(chan error)
		go func() { ended <- g.f.ForgetHandle(a.id) }()
		if done, err := g.f.handles.change(row, state(abi.HandleReserved), state(then)); !done || err != nil {
			t.Fatalf("the row of a reserved handle was changed: %v, %v", done, err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		g.handleIs(a.id, HandleGone)
		g.mustRefuse(abi.Request, carry(abi.KindCall, 0, 1, a), image.HandleID)
	}
}

// Generations begin anew after the last, and 0 is none.
func TestHandleGenerations(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{Handles: 1})
	last := abi.MakeHandleWord(abi.HandleMemory, false, abi.Request, abi.HandleGenerations, 0).Free()
	if err := g.f.handles.words.Put(uint32(0), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(last)), 0)); err != nil {
		t.Fatal(err)
	}
	if a := g.offer(abi.Request, false); a.id != abi.HandleID(0, 1) {
		t.Errorf("handle %#x after the last generation", a.id)
	}
}

// A fabric that is taken over has its handles as they were, without those of
// gates that are not; a new one gets a number that no handle had.
func TestRestoreHandles(t *testing.T) {
	cfg := FabricConfig{Gates: 8, Programs: 8, Words: 3, Buckets: 4, Handles: 8}
	g := handleTest(t, handleImage(image.Rule{}), cfg)
	lost, revoked := *g, *g
	lost.open()
	revoked.open()
	gone := lost.offer(abi.Request, false)
	goneToo := lost.offer(abi.Request, false)
	lost.mustSend(abi.Request, carry(abi.KindCall, 0, 1, goneToo))
	offered, sent, ended := g.offer(abi.Request, true), g.offer(abi.Request, true), g.offer(abi.Request, true)
	g.mustSend(abi.Request, carry(abi.KindCall, 0, 1, sent))
	if err := g.f.ForgetHandle(ended.id); err != nil {
		t.Fatal(err)
	}
	if err := revoked.gate.Revoke(); err != nil {
		t.Fatal(err)
	}
	files, clientFiles, serverFiles := dupAll(t, g.f.Files()), dupAll(t, g.client.Files()), dupAll(t, g.server.Files())
	if _, err := RestoreFabric(FabricConfig{Gates: 8, Programs: 8, Words: 3, Buckets: 4, Handles: 4}, files, 1000, nil); err == nil {
		t.Error("a map of another size was taken over")
	}
	f, err := RestoreFabric(cfg, files, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	client, err := f.RestoreEndpoint(0, 0, 0, clientFiles)
	if err != nil {
		t.Fatal(err)
	}
	server, err := f.RestoreEndpoint(1, 0, 0, serverFiles)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.RestoreRoute(g.route.Describe(), client, server)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := f.RestoreGate(g.gate.Describe(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.RestoreGate(revoked.gate.Describe(), r); err != nil {
		t.Fatal(err)
	}
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
	g.f = f // from here on the old one does nothing
	for id, want := range map[uint64]HandleState{offered.id: HandleOffered, sent.id: HandleAdmitted, ended.id: HandleGone, gone.id: HandleGone, goneToo.id: HandleGone} {
		g.handleIs(id, want)
	}
	g.mustSend(abi.Request, carry(abi.KindCall, 1, 1, offered))
	g.mustTake(offered.id)
	g.mustTake(sent.id)
	numbers := map[uint64]bool{offered.id: true, sent.id: true, ended.id: true, gone.id: true, goneToo.id: true}
	for i := range cfg.Handles {
		id, err := gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 4096})
		if err != nil {
			t.Fatalf("handle %d of %d: %v", i, cfg.Handles, err)
		}
		if numbers[id] {
			t.Errorf("handle %#x had been given away before", id)
		}
		numbers[id] = true
	}
	if _, err := gate.Offer(HandleOffer{Kind: abi.HandleMemory, Size: 4096}); !errors.Is(err, ErrNoHandles) {
		t.Errorf("one more: %v", err)
	}
	if err := gate.Revoke(); err != nil {
		t.Fatal(err)
	}
	for id := range numbers {
		g.handleIs(id, HandleGone)
	}
}

// A fabric without handles is taken over by its six descriptors, as ever.
func TestRestoreWithoutHandles(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4})
	if n := len(g.f.Files()); n != 6 {
		t.Errorf("%d descriptors", n)
	}
	f, err := RestoreFabric(FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4}, dupAll(t, g.f.Files()), 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Restored(); err != nil {
		t.Fatal(err)
	}
}

// mailboxImage is handleImage whose server is a mailbox.
func mailboxImage(rules ...image.Rule) *image.Image {
	img := handleImage(rules...)
	img.Domains[1].Mailbox = true
	img.Interfaces[0].Methods = img.Interfaces[0].Methods[:mUp] // the streams are not for mailboxes
	img.Routes[0].Methods = img.Routes[0].Methods[:mUp]
	return img
}

// Messages to a mailbox leave their slot free: any number may be sent in one, and
// nothing can be answered. The control is the same without the mailbox.
func TestPost(t *testing.T) {
	for _, mailbox := range []bool{false, true} {
		img := mailboxImage(image.Rule{}, enters(cSession, 2))
		img.Domains[1].Mailbox = mailbox
		g := handleTest(t, img, FabricConfig{AuditAll: true})
		a := g.offer(abi.Request, false)
		g.mustSend(abi.Request, carry(abi.KindCall, 7, 1, a))
		g.mustTake(a.id)
		g.record(abi.Request)
		again := unary(7, 2, 0)
		if !mailbox {
			g.mustDeny(abi.Request, again, abi.ReasonSlotBusy)
			g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: 7, Gen: 1}, nil))
			continue
		}
		g.mustSend(abi.Request, again)
		if r := g.record(abi.Request); r.Reason != abi.ReasonPermit || r.Slot != 7 || r.Gen != 2 {
			t.Errorf("record of a post: %+v", r)
		}
		g.mustSend(abi.Request, again) // also the same
		g.mustDeny(abi.Request, unary(7, 3, 1), abi.ReasonState)
		g.mustDeny(abi.Request, unary(7, 3, 9), abi.ReasonDefault)
		b, err := g.f.calls.LookupBytes(g.gate.Index)
		if err != nil {
			t.Fatal(err)
		}
		if w := binary.LittleEndian.Uint64(b[7*8:]); w != 2 {
			t.Errorf("the slot's word is %#x after posts, want generation 2 and no phase", w)
		}
		for _, k := range []abi.Kind{abi.KindReply, abi.KindError} {
			g.mustDeny(abi.Reply, message(abi.Header{Kind: k, Slot: 7, Gen: 2}, nil), abi.ReasonNoCall)
		}
		g.mustDeny(abi.Request, message(abi.Header{Kind: abi.KindCancel, Slot: 7, Gen: 2}, nil), abi.ReasonNoCall)
	}
}

// Posts keep their order, from many slots, until the queue is full; what was
// admitted is all there, and the sender of the next one waits or is told.
func TestPostQueue(t *testing.T) {
	g := handleTest(t, mailboxImage(image.Rule{}), FabricConfig{})
	client, server := int(g.gate.Client.Fd()), int(g.gate.Server.Fd())
	sent := 0
	for ; ; sent++ {
		_, err := unix.Write(client, unary(uint16(sent)%abi.Slots, uint16(sent), 0))
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil || sent > 1<<16 {
			t.Fatalf("after %d: %v", sent, err)
		}
	}
	buf := make([]byte, 256)
	for i := range sent {
		n, err := unix.Read(server, buf)
		if want := unary(uint16(i)%abi.Slots, uint16(i), 0); err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("message %d of %d: %x, %v; want %x", i, sent, buf[:n], err, want)
		}
	}
	if n, err := unix.Read(server, buf); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%x beyond the last: %v", buf[:max(n, 0)], err)
	}
	t.Logf("%d posts wait at most", sent)
}

// A number that comes again after the last generation is that of its new offer alone:
// who has it from the one before, at another gate or for the other direction, has nothing.
func TestAttackHandleNumberAgain(t *testing.T) {
	g := handleTest(t, handleImage(image.Rule{}), FabricConfig{Handles: 1})
	other := *g
	other.open()
	stale := g.offer(abi.Request, false)
	if err := g.f.ForgetHandle(stale.id); err != nil {
		t.Fatal(err)
	}
	last := abi.MakeHandleWord(abi.HandleMemory, false, abi.Request, abi.HandleGenerations, 0).Free()
	if err := g.f.handles.words.Put(uint32(0), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(last)), 0)); err != nil {
		t.Fatal(err)
	}
	again := other.offer(abi.Request, false)
	if again.id != stale.id {
		t.Fatalf("handle %#x after the last generation, want %#x once more: the test shows nothing", again.id, stale.id)
	}
	g.mustRefuse(abi.Request, carry(abi.KindCall, 0, 1, stale), image.HandleID)
	g.handleIs(stale.id, HandleOffered)
	other.mustSend(abi.Request, carry(abi.KindCall, 0, 1, again)) // the control
	g.handleIs(again.id, HandleAdmitted)
}
