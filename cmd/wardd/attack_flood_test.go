package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/audit"
)

// Floods: whoever fills something up is held up itself, and nobody else.

// TestAttackDeafServer: a server that never reads. Its client finds the queue
// full after some messages, of bounded size; nobody else notices. The control:
// with the queue read, the same client sends on.
func TestAttackDeafServer(t *testing.T) {
	r, mallory, trent := upAttack(t)
	trent.done("serve", "test.v1.Sink")
	end, _ := mallory.open("test.v1.Sink", "trent")
	trent.done("await", 1)
	const load = 60000
	flood := func() (sent int) {
		t.Helper()
		var why string
		if _, err := fmt.Sscan(mallory.done("flood", end, load, abi.Slots), &sent, &why); err != nil {
			t.Fatal(err)
		}
		return sent
	}
	first := flood()
	if first == 0 || first*load > 1<<20 {
		t.Errorf("%d messages of %d bytes are queued for a server that does not read", first, load)
	}
	if again := flood(); again != 0 {
		t.Errorf("%d more", again)
	}
	r.await(time.Now(), "an allowed call of others", isCall(audit.Allow, "hello"))
	other, _ := mallory.open("test.v1.Echo", "server")
	mallory.done("send", other, packet(abi.Header{Kind: abi.KindCall, Gen: 9}, text("hello")))

	for range first {
		trent.done("receive", 0)
	}
	if sent := flood(); sent == 0 {
		t.Error("control: nothing can be sent after the queue was read")
	}
}

// TestAttackGates: a domain that opens gates without end, to a server, to the
// name server, and to a server that does not take them, keeps others from none
// of them. The control: it is refused itself in the end.
func TestAttackGates(t *testing.T) {
	r, mallory, trent := upAttack(t)
	trent.done("serve", "test.v1.Sink")
	for _, what := range []string{"test.v1.Echo server", "ward.v1.Names", "test.v1.Sink trent"} {
		got := mallory.done("exhaust", what)
		if n, _ := strconv.Atoi(strings.Fields(got)[0]); n == 0 || n > 512 || !strings.Contains(got, "no more gates") {
			t.Errorf("%s: %s", what, got)
		}
		t.Logf("%s: %s", what, got)
	}
	// What is refused costs the monitor more than what is granted: it looks for
	// gates that have ended.
	begin := time.Now()
	for range 10 {
		mallory.done("pester", 100, "test.v1.Echo", "server")
		trent.open("ward.v1.Names", "")
	}
	took := time.Since(begin)
	t.Logf("beside that, 10 gates of another domain took %v", took)
	if took > patience/4 {
		t.Errorf("10 gates of another domain took %v", took)
	}
	if got := r.outside(nobody, "dial", filepath.Join(r.dir, "echo.sock"), "hello"); got != "said hello" {
		t.Errorf("a user outside: %q", got)
	}
	since := time.Now()
	rec := r.await(since, "another gate of the client", func(rec *audit.Record) bool {
		return rec.Event == audit.EventGate && rec.From == "client"
	})
	if rec.Verdict != audit.Allow {
		t.Errorf("another client: %+v", rec)
	}
}

// TestAttackDeafClient: a client that calls and never reads the answers. The
// server is held up on that gate and on no other, and the call table bounds
// what is pending. The control: after it has read, it is served again.
func TestAttackDeafClient(t *testing.T) {
	r, mallory, _ := upAttack(t)
	end, _ := mallory.open("test.v1.Echo", "server")
	const babble = 200000
	if n, _ := strconv.Atoi(mallory.done("babble", end, babble)); n == 0 || n > 4096 {
		t.Errorf("%d calls were admitted for a client that reads no answer", n)
	}
	for range 3 {
		r.await(time.Now(), "an allowed call of others", isCall(audit.Allow, "hello"))
	}
	call := packet(abi.Header{Kind: abi.KindCall, Slot: 3, Gen: 60000}, text("hello"))
	mallory.refused(abi.ReasonSlotBusy.String(), "send", end, call)
	deadline := time.Now().Add(patience)
	for !strings.HasPrefix(mallory.try("send", end, call), "done") {
		if mallory.try("receive", end); time.Now().After(deadline) {
			t.Fatal("control: a client that reads again is not served")
		}
	}
}

// TestAttackControlFlood: a domain that asks the monitor without end is held
// up itself; others get their answers. The control: it is answered at first.
func TestAttackControlFlood(t *testing.T) {
	r, mallory, trent := upAttack(t)
	const flood = 100000
	if n, _ := strconv.Atoi(mallory.done("pester", flood, "test.v1.None")); n == 0 || n >= flood {
		t.Errorf("%d requests were taken at once", n)
	}
	begin := time.Now()
	for range 10 {
		trent.refused(abi.ReasonDefault.String(), "open", "test.v1.Echo", "server")
		mallory.done("pester", 10, "test.v1.None")
	}
	if took := time.Since(begin); took > patience/4 {
		t.Errorf("10 answers to another domain took %v", took)
	}
	r.await(r.since, "the refusal of what mallory asked", func(rec *audit.Record) bool {
		return rec.Event == audit.EventGate && rec.From == "mallory" && rec.Interface == "test.v1.None"
	})
	r.await(time.Now(), "an allowed call of others", isCall(audit.Allow, "hello"))
}

// stops ends the system in order, so that all records are written.
func (r *running) stops() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if status := r.wait(); status != 0 {
		r.t.Errorf("exit status %d: %s", status, r.stderr)
	}
}

// TestAttackAudit: a domain that floods the audit loses its own records, which
// are counted to the last, and no others.
func TestAttackAudit(t *testing.T) {
	r, mallory, _ := upAttack(t)
	end, _ := mallory.open("test.v1.Echo", "server")
	const flood = 100000
	mallory.done("chatter", end, flood)
	r.await(time.Now(), "a denied call of the client", isCall(audit.Deny, "secret"))
	r.stops()
	const sent = flood + 2 // and the outcomes of two orders
	var recorded, lost uint64
	for _, rec := range r.records() {
		switch {
		case rec.Event == audit.EventLost && rec.From == "mallory":
			lost += rec.Lost
		case rec.Event == audit.EventLost:
			t.Errorf("others lost records: %+v", rec)
		case rec.From == "mallory" && (rec.Event == audit.EventReply || rec.Reason == abi.ReasonShort.String()):
			recorded++
		}
	}
	if lost == 0 {
		t.Error("control: nothing was lost, so nothing was flooded")
	}
	if recorded+lost != sent {
		t.Errorf("%d records and %d lost ones of %d messages", recorded, lost, sent)
	}
	if recorded > flood/2 {
		t.Errorf("%d records of one flooder", recorded)
	}
	t.Logf("%d recorded, %d lost", recorded, lost)
}
