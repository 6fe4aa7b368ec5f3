package main

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/audit"
	"ward/holder/lifeline"
)

// Attacks on memory and handles: mallory makes frames and may show them to
// trent, who may read them; eve sees the host's files, and may read the board. All speak to the monitor and the kernel by hand.
const memoryAttackers = `
  mallory: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/mallory.sock}] }
  trent: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/trent.sock}, test.v1.Frames] }
  eve: { program: HOSTILE, root: host, exports: [{interface: test.v1.Hostile, socket: RUN/eve.sock}] }
objects:
  frames: { kind: memory, size: 4KiB, count: 4 }
  board: { kind: memory, size: 4KiB, shared: true }
`

func upMemoryAttack(t *testing.T) (r *running, mallory, trent, eve *attacker) {
	t.Helper()
	r = upOf(t, memoryFiles("attack"), memoryAttackers)
	r.report(lifeline.Ready)
	return r, r.attacker("mallory"), r.attacker("trent"), r.attacker("eve")
}

// Ordinals of test.v1.Frames.
const show uint32 = 0

// aFrame is a message that says of its handle what is given.
func aFrame(gen uint16, id uint64, kind, size uint64, write bool) string {
	var h []byte
	for i, v := range []uint64{id, kind, size, protowire.EncodeBool(write)} {
		if v != 0 {
			h = protowire.AppendVarint(protowire.AppendTag(h, protowire.Number(i+1), protowire.VarintType), v)
		}
	}
	return packet(abi.Header{Kind: abi.KindCall, Method: show, Slot: gen, Gen: gen}, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), h))
}

// two are the two numbers that an order brought.
func (a *attacker) two(order ...any) (x, y uint64) {
	a.t.Helper()
	if _, err := fmt.Sscan(a.done(order...), &x, &y); err != nil {
		a.t.Fatal(err)
	}
	return x, y
}

// TestAttackHandle: who did not get a message with a handle does not get its
// memory: nobody before the kernel has admitted one, nobody else, not at another
// gate, not twice; and no message passes that claims something else than was
// offered. The controls: the same message and the same request, by whom and when
// they may be.
func TestAttackHandle(t *testing.T) {
	r, mallory, trent, eve := upMemoryAttack(t)
	gate, _ := mallory.open2(trent, "test.v1.Frames", "trent", 1)
	second, _ := mallory.open2(trent, "test.v1.Frames", "trent", 2)
	const at, atSecond = 0, 1 // trent's ends
	ref, fd := mallory.two("make", "frames", 4096)
	var id uint64
	fmt.Sscan(mallory.done("offer", ref, gate, abi.AccessRead), &id)

	trent.refused("was admitted", "redeem", id, at) // nothing was sent
	for i, bad := range []string{
		aFrame(1, id, 1, 4096, true),        // to be written
		aFrame(2, id, 1, 1<<30, false),      // another size
		aFrame(3, id, 2, 4096, false),       // another kind
		aFrame(4, id+1, 1, 4096, false),     // another row
		aFrame(5, id+1<<16, 1, 4096, false), // another generation
	} {
		if got := mallory.try("send", gate, bad); !strings.HasPrefix(got, "refused") {
			t.Errorf("message %d: %q", i, got)
		}
	}
	mallory.refused("no such handle", "send", second, aFrame(1, id, 1, 4096, false)) // another gate
	trent.refused("was admitted", "redeem", id, at)
	mallory.done("send", gate, aFrame(6, id, 1, 4096, false)) // the control
	mallory.refused("no such handle", "send", gate, aFrame(7, id, 1, 4096, false))

	trent.refused("nothing came", "redeem", id, atSecond)
	trent.refused("nothing came", "redeem", id+1<<16, at)
	mallory.refused("nothing came", "redeem", id, gate)
	block := trent.done("block", at)
	eve.refused("no open gate", "redeem", id, "+"+block)
	eve.refused("no open gate", "retract", id, "+"+block)
	_, got := trent.two("redeem", id, at) // the control
	trent.refused("nothing came", "redeem", id, at)
	if text := trent.done("look", got); text != "" {
		t.Errorf("trent reads %q", text)
	}
	// It is sealed for whoever has it, however it was opened.
	trent.refused("by no way", "breakin", got)
	mallory.refused("by no way", "breakin", fd)

	// What is not one's own, and not for the other.
	trent.refused("no object", "offer", ref+100, at, abi.AccessRead)
	trent.refused("no object", "dropref", ref+100)
	eve.refused("no object", "offer", ref, "+"+block, abi.AccessRead)
	mallory.refused("sealed", "offer", ref, gate, abi.AccessRead|abi.AccessWrite)
	other, _ := mallory.two("make", "frames", 4096)
	mallory.refused("default deny", "offer", other, gate, abi.AccessRead|abi.AccessWrite)
	mallory.refused("no open gate", "offer", other, "+"+block+"0", abi.AccessRead)
	mallory.refused("for reading", "offer", other, gate, 7)
	trent.refused("default deny", "make", "frames", 1)
	trent.refused("not shared", "openobject", "frames", abi.AccessRead)
	r.object("that trent may not make any", func(rec *audit.Record) bool {
		return rec.Domain == "trent" && rec.Kind == "make" && rec.Verdict == audit.Deny && rec.Reason == abi.ReasonDefault.String()
	})
	r.ends()
}

// TestAttackBoard: who may read shared memory does not come to write it, though
// it has the descriptor, and a /proc to open it again by. The control: who
// may write it, by the same ways.
func TestAttackBoard(t *testing.T) {
	r, mallory, _, eve := upMemoryAttack(t)
	_, fd := eve.two("openobject", "board", abi.AccessRead)
	eve.refused("default deny", "openobject", "board", abi.AccessRead|abi.AccessWrite)
	eve.refused("by no way", "breakin", fd)
	if text := eve.done("look", fd); text != "" {
		t.Errorf("eve has written %q", text)
	}
	_, w := mallory.two("openobject", "board", abi.AccessRead|abi.AccessWrite)
	if by := mallory.done("breakin", w); !strings.Contains(by, "hole write map mprotect") {
		t.Errorf("control: mallory writes by %s", by)
	} else if strings.Contains(by, "size") {
		t.Errorf("mallory changes the size, by %s", by)
	}
	if text := eve.done("look", fd); text != "hostile" {
		t.Errorf("control: eve reads %q", text)
	}
	r.ends()
}

// TestAttackHoard: a domain that makes, offers and never redeems as much as it
// can keeps nobody else from it. The control: the other does.
func TestAttackHoard(t *testing.T) {
	r, mallory, trent, _ := upMemoryAttack(t)
	gate, _ := mallory.open2(trent, "test.v1.Frames", "trent", 1)
	var ref uint64
	for range 4 {
		ref, _ = mallory.two("make", "frames", 4096)
	}
	mallory.refused("4 instances", "make", "frames", 1)
	most := func(want string, order ...any) {
		t.Helper()
		if got := mallory.done(order...); !strings.HasPrefix(got, strings.Fields(want)[0]+" ") || !strings.Contains(got, want[strings.Index(want, " ")+1:]) {
			t.Errorf("%v: %s, want %s", order, got, want)
		}
	}
	most("64 this end of the gate", "offers", 100, ref, gate, abi.AccessRead)
	second, _ := mallory.open2(trent, "test.v1.Frames", "trent", 2)
	most("0 64 handles for the same domain", "offers", 100, ref, second, abi.AccessRead)
	most("60 64 objects open", "opens", 100, "board", abi.AccessRead|abi.AccessWrite) // and four frames
	trent.done("openobject", "board", abi.AccessRead)                                 // the control
	// Its end gives all back.
	r.kills(r.domains()["mallory"].PID)
	r.ended("mallory")
	trent.done("openobject", "board", abi.AccessRead)
	r.ends()
}
