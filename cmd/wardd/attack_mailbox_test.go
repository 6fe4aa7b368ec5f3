package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/audit"
	"ward/holder/lifeline"
)

// Attacks on mailboxes: mallory may post, trent may read, and both speak the
// wire by hand; other posts by the library.
const mailAttackers = `
  mallory: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/mallory.sock}] }
  trent: { program: HOSTILE, restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/trent.sock}, test.v1.Sink] }
  other: { program: PROBE, args: [mail], exports: [{interface: test.v1.Hostile, socket: RUN/other.sock}] }
objects:
  box: { kind: mailbox, interface: test.v1.Letters }
`

func upMailAttack(t *testing.T) (r *running, mallory, trent, other *attacker) {
	t.Helper()
	r = upOf(t, mail("attack"), mailAttackers)
	r.report(lifeline.Ready)
	return r, r.attacker("mallory"), r.attacker("trent"), r.attacker("other")
}

// put is the ordinal of Letters.Put.
const put uint32 = 0

// aLetter is a message to the mailbox, as orders take it.
func aLetter(gen uint16, s string) string {
	return packet(abi.Header{Kind: abi.KindCall, Method: put, Gen: gen}, protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), s))
}

// mailbox opens a gate to post by, and returns its number.
func (a *attacker) mailbox() (end int) {
	a.t.Helper()
	if _, err := fmt.Sscan(a.done("mailbox", "test.v1.Letters"), &end); err != nil {
		a.t.Fatal(err)
	}
	return end
}

// letter takes one message at an end, and returns its text.
func (a *attacker) letter(end int) string {
	a.t.Helper()
	b, err := hex.DecodeString(a.done("receive", end))
	if err != nil || len(b) < abi.HeaderSize+2 {
		a.t.Fatalf("%s got %x", a.name, b)
	}
	return string(b[abi.HeaderSize+2:])
}

// empty checks that nothing waits at an end.
func (a *attacker) empty(end int) {
	a.t.Helper()
	a.refused("temporarily unavailable", "receive", end)
}

// TestAttackMailboxEnds: a writer that reads, a reader that writes, one that may
// not read and asks to, and messages that are not permitted. The controls: the
// same packets between a client and a server, who may; the reader, who asks; and
// a message that is permitted.
func TestAttackMailboxEnds(t *testing.T) {
	r, mallory, trent, _ := upMailAttack(t)
	mallory.refused("default deny", "readbox", "box")
	trent.refused("default deny", "readbox", "bo")
	trent.refused("default deny", "mailbox", "test.v1.Letters") // the reader may not post
	r.await(r.since, "that mallory may not read", func(rec *audit.Record) bool {
		return rec.Event == audit.EventObject && rec.Domain == "mallory" && rec.Verdict == audit.Deny && rec.Object == "box"
	})
	trent.done("readbox", "box") // the control
	r.await(r.since, "that trent may", func(rec *audit.Record) bool {
		return rec.Event == audit.EventObject && rec.Domain == "trent" && rec.Verdict == audit.Allow && rec.Object == "box" && rec.Policy == "trent reads"
	})

	out := mallory.mailbox()
	trent.done("await", 1)
	const in = 0 // trent's first end
	for i, bad := range []struct{ why, packet string }{
		{"default deny", aLetter(1, "secret")},
		{"default deny", packet(abi.Header{Kind: abi.KindCall, Method: put + 1, Gen: 2}, nil)}, // nobody may withdraw
		{"out of bounds", aLetter(3, strings.Repeat("x", 65))},
		{"unknown field", packet(abi.Header{Kind: abi.KindCall, Method: put, Gen: 4}, []byte{0x18, 1})},
		{"kind of message", packet(abi.Header{Kind: abi.KindReply, Method: put, Gen: 5}, nil)},
		{"no such pending call", packet(abi.Header{Kind: abi.KindCancel, Method: put, Gen: 6}, nil)},
	} {
		if got := mallory.try("send", out, bad.packet); !strings.HasPrefix(got, "refused") || !strings.Contains(got, bad.why) {
			t.Errorf("message %d: %q, want %s", i, got, bad.why)
		}
	}
	trent.empty(in)
	mallory.done("send", out, aLetter(7, "hello")) // the control
	if got := trent.letter(in); got != "hello" {
		t.Errorf("trent got %q", got)
	}

	// The reader answers: nothing of it arrives, and all of it is recorded.
	answers := []abi.Header{{Kind: abi.KindReply, Method: put, Gen: 7}, {Kind: abi.KindError, Method: put, Gen: 7}, {Kind: abi.KindStreamItem, Method: put, Gen: 7},
		{Kind: abi.KindStreamEnd, Method: put, Gen: 7}, {Kind: abi.KindCredit, Method: put, Gen: 7}, {Kind: abi.KindCall, Method: put, Gen: 8}}
	for _, h := range answers {
		trent.done("shout", in, packet(h, nil)) // it does not learn what became of it
	}
	trent.done("shout", in, hex.EncodeToString([]byte("x")))
	mallory.empty(out)
	denied := 0
	r.await(r.since, "what trent sent", func(rec *audit.Record) bool {
		if rec.From == "box" && rec.To == "mallory" && rec.Verdict == audit.Deny {
			denied++
		}
		return denied == len(answers)+1
	})
	// The control: trent answers a call that mallory made.
	sink, _ := mallory.open2(trent, "test.v1.Sink", "trent", 2)
	mallory.done("send", sink, packet(abi.Header{Kind: abi.KindCall, Method: take, Gen: 1}, nil))
	trent.done("send", 1, packet(abi.Header{Kind: abi.KindReply, Method: take, Gen: 1}, nil))
	mallory.done("receive", sink)
}

// open2 opens a gate at a server that serves first, and waits until that has its end.
func (a *attacker) open2(server *attacker, iface, name string, ends int) (end, fd int) {
	a.t.Helper()
	server.done("serve", iface)
	end, fd = a.open(iface, name)
	server.done("await", ends)
	return end, fd
}

// TestAttackMailboxFlood: a writer that posts without end, and opens gates
// without end: the queue is bounded, and its part of the gates; another writer
// does not notice. The control: when the reader reads, there is room again.
func TestAttackMailboxFlood(t *testing.T) {
	r, mallory, trent, other := upMailAttack(t)
	out := mallory.mailbox()
	var sent int
	var why string
	got := mallory.done("flood", out, 32<<10, 1000)
	if fmt.Sscan(got, &sent, &why); sent == 0 || sent > 100 || !strings.Contains(got, "temporarily unavailable") {
		t.Fatalf("flood: %s", got)
	}
	other.done("post", "a", "b")

	// Gates with something in them stay when they are left, and count.
	var gates int
	got = mallory.done("mailboxes", "test.v1.Letters")
	if fmt.Sscan(got, &gates, &why); gates < 2 || !strings.Contains(got, "its whole share") && !strings.Contains(got, "quota") {
		t.Fatalf("gates: %s", got)
	}
	mallory.done("leave", out)
	if got := mallory.done("mailboxes", "test.v1.Letters"); !strings.HasPrefix(got, "0 ") && !strings.HasPrefix(got, "1 ") {
		t.Errorf("after one was left: %s", got)
	}
	other.done("anew")
	other.done("post", "c") // a gate of its own
	if m := r.mailbox(); m.Writers == 0 || m.Waiting < uint64(sent)*32<<10 {
		t.Errorf("%+v", m)
	}

	trent.done("readbox", "box")
	trent.done("await", 1)
	for range sent {
		trent.done("receive", 0) // the oldest gate
	}
	if got := trent.done("receive", 0); got != "" {
		t.Errorf("after the last one: %q", got)
	}
	other.done("fill")
}

// TestAttackMailboxShut: a reader that shuts the queues down, for itself and for
// those who post: that hurts the mailbox that it may empty anyway. What waits
// stays for its next process; writers post on, by another gate. The control:
// before that the writer's gate takes a message.
func TestAttackMailboxShut(t *testing.T) {
	r, mallory, trent, other := upMailAttack(t)
	out := mallory.mailbox()
	mallory.done("send", out, aLetter(1, "hello")) // the control
	other.done("post", "a")
	trent.done("readbox", "box")
	trent.done("await", 2)
	for i := range 2 {
		trent.done("shut", i)
	}
	mallory.refused("broken pipe", "send", out, aLetter(2, "again"))
	other.done("post", "b") // the library opens another
	mallory.done("send", mallory.mailbox(), aLetter(1, "again"))

	pid := r.domains()["trent"].PID
	r.kills(pid)
	for r.runs("trent") == pid {
	}
	trent = r.attacker("trent")
	trent.done("readbox", "box")
	trent.done("await", 4)
	var all []string
	for i := range 4 {
		all = append(all, trent.letter(i))
	}
	if got := strings.Join(all, " "); got != "hello a b again" {
		t.Errorf("the next process reads %q", got)
	}
}
