package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/holder/lifeline"
)

// What one domain can use up: names, verdicts, gates. Whatever it takes is its own
// share, and who is beside it does not notice. Audit: TestAttackAudit.

// upExhaust starts mallory and trent with two more: seeker, who may do what mallory
// may, and few, which has a small quota of gates.
func upExhaust(t *testing.T) (r *running, mallory, trent, seeker *attacker) {
	t.Helper()
	r = upOf(t, append(attackSystem[:len(attackSystem):len(attackSystem)], "testdata/attack/exhaust.cedar"), attackers+`
  seeker: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/seeker.sock}] }
  few: { program: HOSTILE, quota: { gates: 16 }, exports: [{interface: test.v1.Hostile, socket: RUN/few.sock}] }
`)
	r.report(lifeline.Ready)
	return r, r.attacker("mallory"), r.attacker("trent"), r.attacker("seeker")
}

// many is the number at the begin of an outcome.
func many(t *testing.T, got string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(got)[0])
	if err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	return n
}

// receives waits for a packet at an end, and returns its body.
func (a *attacker) receives(end int) (h abi.Header, body []byte) {
	a.t.Helper()
	b, err := hex.DecodeString(a.done("obtain", end))
	if err != nil {
		a.t.Fatal(err)
	}
	if h, err = abi.ParseHeader(b); err != nil {
		a.t.Fatalf("%x: %v", b, err)
	}
	return h, b[abi.HeaderSize:]
}

// Ordinals of ward.v1.Names.
const (
	namesPublish uint32 = iota
	namesWithdraw
	namesLookup
)

// TestAttackNamesFilled: a domain that has as many gates to the name server as it
// gets, on each of which every slot waits for an interface that nobody publishes, and
// that publishes what is its own again and again, keeps nobody from publishing and
// looking up. The controls: its own next lookup is refused; as soon as what it waits
// for is published each is answered, and it looks up again.
func TestAttackNamesFilled(t *testing.T) {
	_, mallory, trent, seeker := upExhaust(t)
	const names = "ward.v1.Names"
	own := text("test.v1.Hostile")
	waiting := protowire.AppendVarint(protowire.AppendTag(text("test.v1.Sink"), 2, protowire.VarintType), 1)
	call := func(a *attacker, end int, method uint32, slot, gen uint16, body []byte) []byte {
		t.Helper()
		a.done("send", end, packet(abi.Header{Kind: abi.KindCall, Method: method, Slot: slot, Gen: gen}, body))
		h, got := a.receives(end)
		if h.Kind != abi.KindReply || h.Slot != slot || h.Gen != gen {
			t.Fatalf("%s, method %d: %+v %q", a.name, method, h, got)
		}
		return got
	}
	publisher, _ := mallory.open(names, "")
	filled := 0
	for ; ; filled++ {
		got := mallory.try("open", names)
		if strings.HasPrefix(got, "refused") {
			if !strings.Contains(got, "no more gates") {
				t.Errorf("mallory is refused in the end: %s", got)
			}
			break
		}
		end := many(t, strings.TrimPrefix(got, "done"))
		if n := many(t, mallory.done("fill", end, namesLookup, 1, hex.EncodeToString(waiting))); n != abi.Slots {
			t.Errorf("the control: %d of %d lookups on gate %d are admitted", n, abi.Slots, filled)
		}
		mallory.refused(abi.ReasonSlotBusy.String(), "send", end, packet(abi.Header{Kind: abi.KindCall, Method: namesLookup, Gen: 2}, text("test.v1.Echo")))
	}
	if filled == 0 {
		t.Fatal("the control: mallory has no gate")
	}
	t.Logf("%d gates, on which %d lookups wait", filled, filled*abi.Slots)
	for i := range 1000 {
		call(mallory, publisher, namesPublish, 0, uint16(i+1), own)
	}

	// Nobody else notices.
	looks, _ := seeker.open(names, "")
	if got := call(seeker, looks, namesLookup, 0, 1, text("test.v1.Echo")); !strings.Contains(string(got), "server") {
		t.Errorf("seeker looks up Echo: %q", got)
	}
	tells, _ := trent.open(names, "")
	for i, m := range []uint32{namesPublish, namesWithdraw} {
		call(trent, tells, m, 0, uint16(i+1), own)
	}

	// What it waits for comes.
	call(trent, tells, namesPublish, 1, 1, text("test.v1.Sink"))
	answered := map[uint16]bool{}
	for range abi.Slots {
		h, got := mallory.receives(1)
		if h.Kind != abi.KindReply || !strings.Contains(string(got), "trent") {
			t.Fatalf("the control: a lookup that has waited is answered %+v %q", h, got)
		}
		answered[h.Slot] = true
	}
	if len(answered) != abi.Slots {
		t.Errorf("the control: %d slots were answered", len(answered))
	}
	call(mallory, 1, namesLookup, 0, 2, text("test.v1.Echo"))
}

// TestAttackVerdicts: a domain that uses up all verdicts of a gate, with calls that
// are never answered and with calls that are denied, one after another, is told at
// once that there is no slot; another gate has its own, and so has another client.
// The control: with one answer there is one slot again.
func TestAttackVerdicts(t *testing.T) {
	_, mallory, trent, seeker := upExhaust(t)
	trent.done("serve", "test.v1.Sink")
	first, _ := mallory.open("test.v1.Sink", "trent")
	trent.done("await", 1)
	if n := many(t, mallory.done("fill", first, take, 1)); n != abi.Slots {
		t.Fatalf("%d of %d calls were admitted", n, abi.Slots)
	}
	more := packet(abi.Header{Kind: abi.KindCall, Method: take, Slot: 7, Gen: 2}, nil)
	mallory.refused(abi.ReasonSlotBusy.String(), "send", first, more)
	for gen := range 200 { // every one is answered: none takes a slot from what is pending
		if n := many(t, mallory.done("fill", first, 99, gen+2)); n != 0 {
			t.Fatalf("%d calls of a method that is not there were admitted", n)
		}
	}
	mallory.refused(abi.ReasonSlotBusy.String(), "send", first, more)
	second, _ := mallory.open("test.v1.Sink", "trent")
	mallory.done("send", second, more)
	other, _ := seeker.open("test.v1.Sink", "trent")
	seeker.done("send", other, more)

	h, _ := trent.receives(0)
	trent.done("send", 0, packet(abi.Header{Kind: abi.KindReply, Method: take, Slot: h.Slot, Gen: h.Gen}, []byte{8, 1}))
	mallory.done("send", first, packet(abi.Header{Kind: abi.KindCall, Method: take, Slot: h.Slot, Gen: 1000}, nil))
}

// TestAttackBlocks: a domain that opens gates to one that never closes its ends, and
// closes its own at once, uses up its own part of the verdict page: it is refused in
// the end, and nobody else is. The control: once those ends are closed it gets gates again.
func TestAttackBlocks(t *testing.T) {
	_, mallory, trent, seeker := upExhaust(t)
	trent.done("serve", "test.v1.Sink")
	const tries = 5000
	got := mallory.done("cycle", tries, "test.v1.Sink", "trent")
	n := many(t, got)
	if n == 0 || n >= tries || !strings.Contains(got, "no more gates") {
		t.Errorf("opening and closing: %s", got)
	}
	t.Logf("%s", got)
	seeker.open("test.v1.Sink", "trent")
	seeker.open("test.v1.Echo", "server")
	trent.done("letgo")
	limit := time.Now().Add(patience)
	for !strings.HasPrefix(mallory.try("open", "test.v1.Sink", "trent"), "done") {
		if time.Now().After(limit) {
			t.Fatal("the control: with the other ends closed it gets no gate")
		}
	}
}

// TestAttackGatesQuota: a domain has as many gates as its quota says and no more;
// one with another quota, the control, gets those that the first does not.
func TestAttackGatesQuota(t *testing.T) {
	r, mallory, _, _ := upExhaust(t)
	few := r.attacker("few")
	had := map[string]int{}
	for _, a := range []*attacker{few, mallory} {
		got := a.done("exhaust", "test.v1.Echo", "server")
		had[a.name] = many(t, got)
		if !strings.Contains(got, "no more gates") {
			t.Errorf("%s is refused in the end: %s", a.name, got)
		}
	}
	if had["few"] == 0 || had["few"] > 16 || had["mallory"] <= 16 {
		t.Errorf("gates, of 16 for few and the default for mallory: %v", had)
	}
	t.Log(fmt.Sprint(had))
}
