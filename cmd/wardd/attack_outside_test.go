package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
)

// daemon is another user than nobody, who may say hello, too.
const daemon = 1

// descriptors is how many the monitor has open.
func (r *running) descriptors() int {
	r.t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.processes()["monitor"]))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(names)
}

// atRest is how many it has open once all that the system does by itself has begun.
func (r *running) atRest() int {
	r.t.Helper()
	r.await(r.since, "an allowed call of the client", isCall(audit.Allow, "hello"))
	return r.descriptors()
}

// settles waits until the monitor has no more descriptors open than that:
// those of the client domain's gates come and go.
func (r *running) settles(most int) {
	r.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		n := r.descriptors()
		if n <= most {
			return
		}
		select {
		case <-deadline.C:
			r.t.Fatalf("the monitor has %d descriptors open, %d before", n, most)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// swing is by how many descriptors a monitor at rest may differ: a gate that
// is on its way, and its sweep.
const swing = 8

// TestAttackOutsideLiar: a user claims to be a domain, the monitor and root, on
// the socket of an export, with descriptors. Nobody listens: it gets the gate of
// the user that it is. The controls: the same message on the control channel of
// a domain is heard, and an honest user gets a gate.
func TestAttackOutsideLiar(t *testing.T) {
	r, _, trent := upAttack(t)
	socket := filepath.Join(r.dir, "echo.sock")
	before := r.atRest()
	for range 5 {
		if got := r.hostile(nobody, "lie", socket).end(); !strings.HasPrefix(got, "refused: nobody listens") {
			t.Errorf("a liar: %q", got)
		}
	}
	for _, rec := range r.records() {
		if rec.Event == audit.EventGate && rec.To == "server" && rec.From != "client" && rec.From != "user:nobody" {
			t.Errorf("the liar was taken for %s: %+v", rec.From, rec)
		}
	}
	r.settles(before + swing)
	trent.done("serve", "test.v1.Sink")
	if got := r.outside(nobody, "dial", socket, "hello"); got != "said hello" {
		t.Errorf("control: an honest user: %q", got)
	}
}

// TestAttackOutsideSilent: a user that holds all the connections that it may,
// and never speaks nor reads, keeps nobody else out. The control: it keeps itself out.
func TestAttackOutsideSilent(t *testing.T) {
	r, mallory, _ := upAttack(t)
	socket := filepath.Join(r.dir, "echo.sock")
	mallory.done("open", "test.v1.Echo", "server")
	before := r.atRest()
	silent := r.hostile(nobody, "hold", socket, 40).ready()
	if got := r.outside(nobody, "dial", socket, "hello"); !strings.Contains(got, "too many") {
		t.Errorf("control: one more connection of the same user: %q", got)
	}
	for range 3 {
		if got := r.outside(daemon, "dial", socket, "hello"); got != "said hello" {
			t.Errorf("another user: %q", got)
		}
	}
	mallory.done("open", "test.v1.Echo", "server")
	silent.end()
	r.settles(before + swing)
}

// TestAttackOutsideGift: a user, who has no seccomp filter, sends a server a
// descriptor along with an allowed call. The kernel refuses it (SO_PASSRIGHTS,
// Linux 6.16); before that the server's library breaks the gate and keeps none.
// Either way others are served. The control is TestDescriptorsAreRefused: on a
// plain socket pair it arrives.
func TestAttackOutsideGift(t *testing.T) {
	r, _, _ := upAttack(t)
	socket := filepath.Join(r.dir, "echo.sock")
	if got := r.hostile(nobody, "give", socket).end(); passRights(t) && got != "refused: with a descriptor: operation not permitted" {
		t.Errorf("a descriptor for a server: %q", got)
	}
	server := r.domainPID("server")
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names { // the gift is a pipe of the test's: its standard input
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", server, n.Name())); strings.HasPrefix(to, "pipe:") && n.Name() != "1" && n.Name() != "2" {
			t.Errorf("the server has %s as descriptor %s", to, n.Name())
		}
	}
	if got := r.outside(nobody, "dial", socket, "hello"); got != "said hello" {
		t.Errorf("control: an honest user: %q", got)
	}
}

// passRights reports whether this kernel has SO_PASSRIGHTS.
func passRights(t *testing.T) bool {
	t.Helper()
	const soPassRights = 83 // include/uapi/asm-generic/socket.h
	_, err := unix.GetsockoptInt(newPair(t)[0], unix.SOL_SOCKET, soPassRights)
	return err == nil
}

// TestAttackOutsideDead: clients that die right after they connected, before
// and while they are judged, leave nothing behind. The control is one that lives.
func TestAttackOutsideDead(t *testing.T) {
	r, _, _ := upAttack(t)
	socket := filepath.Join(r.dir, "echo.sock")
	before := r.atRest()
	for range 30 {
		if got := r.hostile(nobody, "connect", socket).end(); got != "done" {
			t.Fatal(got)
		}
	}
	r.settles(before + swing)
	if got := r.outside(nobody, "dial", socket, "hello"); got != "said hello" {
		t.Errorf("control: a client that lives: %q", got)
	}
}

// TestAttackOutsideStorm: a user that connects and hangs up as fast as it can
// delays others, but not for long, and loses no records of theirs.
func TestAttackOutsideStorm(t *testing.T) {
	r, mallory, _ := upAttack(t)
	socket := filepath.Join(r.dir, "echo.sock")
	mallory.done("open", "test.v1.Echo", "server")
	before := r.atRest()
	storm := r.hostile(nobody, "storm", socket).ready()
	var worst time.Duration
	for range 20 {
		begin := time.Now()
		if got := r.outside(daemon, "dial", socket, "hello"); got != "said hello" {
			t.Errorf("another user: %q", got)
		}
		worst = max(worst, time.Since(begin))
	}
	begin := time.Now()
	mallory.done("open", "test.v1.Echo", "server")
	opened := time.Since(begin)
	n, _ := strconv.Atoi(strings.TrimPrefix(storm.end(), "done "))
	if n < 1000 {
		t.Errorf("control: only %d connections", n)
	}
	limit := 2 * time.Second
	if os.Getenv(builtEnv) != "" {
		limit *= 10 // an emulated processor
	}
	if worst > limit || opened > limit {
		t.Errorf("beside %d connections another user waited for %v, a domain for %v", n, worst, opened)
	}
	r.settles(before + swing)
	r.stops()
	refused, lines := false, 0
	for _, rec := range r.records() {
		lines++
		refused = refused || rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "connections of user")
		if rec.Event == audit.EventLost {
			t.Errorf("the storm lost records of others: %+v", rec)
		}
	}
	if !refused {
		t.Error("the audit log does not tell of the storm")
	}
	t.Logf("%d records", lines)
	t.Logf("beside %d connections another user waited for %v at most, a domain for %v", n, worst, opened)
}
