package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/audit"
	"ward/holder/lifeline"
)

// Memory and handles in whole systems. maker makes it, viewer and reader may have
// it, other may not, each as the test tells it (testdata/probe/memory.go). few is
// for quotas, board is shared.

const memoryDomains = `
  maker: { program: PROBE, args: [memory], restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/maker.sock}, test.v1.Frames] }
  viewer: { program: PROBE, args: [memory], restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/viewer.sock}, test.v1.Frames] }
  reader: { program: PROBE, args: [memory], exports: [{interface: test.v1.Hostile, socket: RUN/reader.sock}, test.v1.Frames] }
  other: { program: PROBE, args: [memory], exports: [{interface: test.v1.Hostile, socket: RUN/other.sock}, test.v1.Frames] }
objects:
  frames: { kind: memory, size: 64KiB, count: 32 }
  few: { kind: memory, size: 4KiB, count: 2 }
  board: { kind: memory, size: 4KiB, shared: true }
`

// memoryFiles are those of a system with one of the policies of testdata/memory.
func memoryFiles(policy string) []string {
	return []string{"testdata/attack/attack.proto", "testdata/memory/frames.proto", "testdata/memory/" + policy + ".cedar"}
}

func upMemory(t *testing.T) (r *running, maker, viewer, reader, other *attacker) {
	t.Helper()
	r = upOf(t, memoryFiles("policy"), memoryDomains)
	r.report(lifeline.Ready)
	return r, r.attacker("maker"), r.attacker("viewer"), r.attacker("reader"), r.attacker("other")
}

// object waits for a record of an object.
func (r *running) object(what string, match func(*audit.Record) bool) {
	r.t.Helper()
	r.await(r.since, what, func(rec *audit.Record) bool { return rec.Event == audit.EventObject && match(rec) })
}

// room waits until there is room for one more instance, and makes it: who closes
// memory does not wait for the monitor for ever.
func (a *attacker) room(object string) string {
	a.t.Helper()
	limit := time.Now().Add(patience)
	for {
		got := a.try("make", object, 0)
		if n, ok := strings.CutPrefix(got, "done "); ok {
			return n
		}
		if time.Now().After(limit) {
			a.t.Fatalf("no room: %s", got)
		}
	}
}

// TestMemoryPasses: memory goes by handles in requests and in replies, to be
// read and to be written, to whom the policy lets have it, and is sealed when it
// is given to be read.
func TestMemoryPasses(t *testing.T) {
	r, maker, viewer, reader, other := upMemory(t)
	m := maker.done("make", "frames", 5000)
	maker.done("write", m, "picture")
	maker.refused("unmap it first", "show", m, "viewer")
	maker.done("unmap", m)
	got := maker.done("show", m, "viewer")
	if text := viewer.done("read", got); text != "picture" {
		t.Errorf("the viewer reads %q", text)
	}
	for _, d := range []struct {
		who *attacker
		n   string
	}{{maker, m}, {viewer, got}} { // sealed, for all
		d.who.refused("", "scribble", d.n)
		d.who.refused("cannot be written", "write", d.n, "x")
	}
	if text := maker.done("read", m); text != "picture" {
		t.Errorf("the maker reads %q", text)
	}
	// On to the reader, who may read, but not to who is forbidden to.
	if text := reader.done("read", reader.done("fetch", "viewer", got)); text != "picture" {
		t.Errorf("the reader reads %q", text)
	}
	viewer.refused("never the other", "show", got, "other")
	viewer.refused("sealed", "show", got, "reader", "write")

	// To be written: the viewer may, the reader not.
	m = maker.done("make", "frames", 0)
	got = viewer.done("fetch", "maker", m, "write")
	viewer.done("write", got, "answer")
	if text := maker.done("read", m); text != "answer" {
		t.Errorf("the maker reads %q", text)
	}
	maker.refused("default deny", "show", m, "reader", "write")
	maker.refused("unmap it first", "show", m, "reader") // the viewer could write it
	viewer.done("unmap", got)
	maker.done("unmap", m)
	maker.done("show", m, "reader")
	viewer.refused("cannot be written", "write", got, "x")

	viewer.refused("default deny", "make", "frames", 1)
	other.refused("never the other", "open", "frames")
	maker.refused("at most 65536", "make", "frames", 65537)

	r.object("making", func(rec *audit.Record) bool {
		return rec.Domain == "maker" && rec.Object == "frames" && rec.Kind == "make" && rec.Access == "create" && rec.Policy == "the maker makes frames" && rec.Verdict == audit.Allow
	})
	r.object("the offer to other", func(rec *audit.Record) bool {
		return rec.From == "viewer" && rec.To == "other" && rec.Object == "frames" && rec.Kind == "offer" && rec.Access == "open.read" && rec.Policy == "never the other" && rec.Verdict == audit.Deny
	})
	r.object("what is mapped", func(rec *audit.Record) bool {
		return rec.From == "maker" && rec.To == "viewer" && rec.Kind == "offer" && rec.Verdict == audit.Deny && rec.Policy == "" && strings.Contains(rec.Detail, "unmap")
	})
	r.object("redeeming", func(rec *audit.Record) bool {
		return rec.From == "maker" && rec.To == "viewer" && rec.Kind == "redeem" && rec.Access == "open.write" && rec.Policy == "the viewer writes frames"
	})
	r.ends()
}

// TestMemoryShared: shared memory is one for all, by name, with the rights that
// each has, and stays when nobody has it open.
func TestMemoryShared(t *testing.T) {
	r, maker, viewer, reader, other := upMemory(t)
	w, v := maker.done("open", "board", "write"), viewer.done("open", "board")
	maker.done("write", w, "one")
	if text := viewer.done("read", v); text != "one" {
		t.Errorf("the viewer reads %q", text)
	}
	viewer.refused("", "scribble", v)
	viewer.refused("default deny", "open", "board", "write")
	other.refused("default deny", "open", "board")
	maker.refused("shared", "make", "board", 1)
	maker.refused("by its name", "show", w, "viewer")
	maker.done("close", w)
	viewer.done("close", v)
	if text := reader.done("read", reader.done("open", "board")); text != "one" {
		t.Errorf("the reader reads %q", text)
	}
	r.ends()
}

// TestMemoryQuotas: as many instances, references and offers as there may be.
func TestMemoryQuotas(t *testing.T) {
	r, maker, viewer, _, _ := upMemory(t)
	a, b := maker.done("make", "few", 0), maker.done("make", "few", 0)
	maker.refused("2 instances", "make", "few", 0)
	r.object("the third of few", func(rec *audit.Record) bool {
		return rec.Domain == "maker" && rec.Object == "few" && rec.Verdict == audit.Deny && rec.Reason == "limit of objects"
	})
	theirs := maker.done("show", a, "viewer")
	maker.done("close", a)
	maker.refused("2 instances", "make", "few", 0) // the viewer has it
	viewer.done("close", theirs)
	maker.room("few")
	if got := maker.done("offers", b, "viewer", 100); !strings.HasPrefix(got, "64 ") || !strings.Contains(got, "64 handles") {
		t.Errorf("offers: %s", got)
	}
	maker.done("offers", b, "reader", 1) // another gate
	r.ends()
}

// TestMemoryOutlives: what each has, and what is on its way, outlives the death
// of the monitor and of the creator, and an upgrade; what a domain has ends with it.
func TestMemoryOutlives(t *testing.T) {
	r, maker, viewer, reader, _ := upMemory(t)
	board := maker.done("open", "board", "write")
	maker.done("write", board, "stays")
	first := maker.done("make", "few", 0)
	maker.done("write", first, "early")
	maker.done("unmap", first)
	seen := maker.done("show", first, "viewer")
	for _, way := range append(slices.Clone(outlived), killing{name: "upgrade"}) {
		before := r.domains()
		m := maker.done("make", "frames", 100)
		maker.done("write", m, way.name)
		r.killsAll(way.roles...)
		maker.done("unmap", m) // of nobody's business
		got := maker.done("show", m, "viewer")
		if text := viewer.done("read", got); text != way.name {
			t.Errorf("%s: the viewer reads %q", way.name, text)
		}
		if text := reader.done("read", reader.done("fetch", "viewer", got)); text != way.name {
			t.Errorf("%s: the reader reads %q", way.name, text)
		}
		copied := reader.done("fetch", "viewer", seen)
		if text := reader.done("read", copied); text != "early" {
			t.Errorf("%s: the reader reads %q", way.name, text)
		}
		reader.done("close", copied)
		if text := reader.done("read", reader.done("open", "board")); text != "stays" {
			t.Errorf("%s: on the board stands %q", way.name, text)
		}
		maker.refused("sealed", "show", m, "viewer", "write")
		other := maker.room("few")
		maker.refused("2 instances", "make", "few", 0) // they are counted as before
		maker.done("close", other)
		maker.done("close", maker.room("few")) // it has ended
		r.sameDomains(before)
	}
	// Two instances of few: one is the viewer's, who ends.
	maker.done("close", first)
	maker.room("few")
	maker.refused("2 instances", "make", "few", 0)
	pid := r.domains()["viewer"].PID
	r.kills(pid)
	for r.runs("viewer") == pid {
	}
	r.object("its next process", func(rec *audit.Record) bool { return rec.Verdict == audit.Deny && rec.Object == "few" })
	maker.room("few")
	r.attacker("viewer").refused("no memory", "read", seen)
	r.ends()
}

// TestMemoryLoses: a reload takes the rights away; what is open stays, and
// nothing new is given.
func TestMemoryLoses(t *testing.T) {
	r, maker, viewer, _, _ := upMemory(t)
	m := maker.done("make", "frames", 100)
	got := maker.done("show", m, "viewer", "write")
	at := time.Now()
	if _, err := r.reload(memoryFiles("less"), memoryDomains); err != nil {
		t.Fatal(err)
	}
	r.await(at, "what the viewer keeps", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && rec.Domain == "viewer" && strings.Contains(rec.Detail, "stays open")
	})
	viewer.done("write", got, "still")
	if text := maker.done("read", m); text != "still" {
		t.Errorf("the maker reads %q", text)
	}
	maker.refused("default deny", "show", m, "viewer", "write")
	viewer.refused("", "show", got, "maker", "write")
	viewer.refused("default deny", "open", "board")
	if _, err := r.reload(memoryFiles("policy"), memoryDomains); err != nil {
		t.Fatal(err)
	}
	maker.done("show", m, "viewer", "write")
	r.ends()
}

// TestHandleOutlives: handles that are on their way when the monitor dies, and
// when all is replaced, arrive afterwards, once; those that were only offered can
// be sent then, or taken back.
func TestHandleOutlives(t *testing.T) {
	r, mallory, trent, _ := upMemoryAttack(t)
	gate, _ := mallory.open2(trent, "test.v1.Frames", "trent", 1)
	const at = 0 // trent's end
	for i, way := range []killing{{"monitor", []string{"monitor"}}, {name: "upgrade"}} {
		gen := uint16(10 * i)
		ref, fd := mallory.two("make", "frames", 4096)
		mallory.done("breakin", fd) // it writes "hostile"
		offer := func() (id uint64) {
			t.Helper()
			fmt.Sscan(mallory.done("offer", ref, gate, abi.AccessRead), &id)
			return id
		}
		sent, waits, back := offer(), offer(), offer()
		mallory.done("send", gate, aFrame(gen+1, sent, 1, 4096, false))
		mallory.done("dropref", ref)
		r.killsAll(way.roles...)
		_, got := trent.two("redeem", sent, at)
		if text := trent.done("look", got); text != "hostile" {
			t.Errorf("%s: trent reads %q", way.name, text)
		}
		trent.refused("nothing came", "redeem", sent, at)
		mallory.refused("no such handle", "send", gate, aFrame(gen+2, sent, 1, 4096, false))
		trent.refused("was admitted", "redeem", waits, at)
		mallory.done("send", gate, aFrame(gen+3, waits, 1, 4096, false))
		theirs, _ := trent.two("redeem", waits, at)
		mallory.done("retract", back, gate)
		mallory.refused("no such handle", "send", gate, aFrame(gen+4, back, 1, 4096, false))
		trent.done("dropref", theirs)
	}
	r.ends()
}
