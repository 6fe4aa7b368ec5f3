package main

import (
	"cmp"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
)

// Processes of wardd that are killed while the system stops, or while it starts.

// orderlyDomains are a pair, and one who needs a while to end.
const orderlyDomains = pair + `  orderly: { program: PROBE, args: [orderly], grace: 60, needs: [client] }
`

// initials name a test of some of these processes: the path of a socket has a limit.
func initials(roles []string) string {
	text := ""
	for _, r := range roles {
		text += r[:1]
	}
	return cmp.Or(text, "nobody")
}

// pidfdOfRole opens a process of wardd.
func (r *running) pidfdOfRole(role string) *os.File {
	r.t.Helper()
	return pidfdOf(r.t, r.wholly()[role])
}

// atOnce sends SIGKILL to all of these processes, and waits until they have ended.
func (r *running) atOnce(pidfds ...*os.File) {
	r.t.Helper()
	for _, f := range pidfds {
		if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
			r.t.Fatal(err)
		}
	}
	r.gone(pidfds)
}

// endsInOrder checks a system whose orderly domain had the time that it needs: the
// end of each domain is recorded, with its own status, and the end of the system last.
func (r *running) endsInOrder(way string) {
	r.t.Helper()
	if status := r.wait(); status != 0 {
		r.t.Errorf("%s: exit status %d: %s", way, status, r.stderr)
	}
	r.leftovers()
	ended, all := map[string][]int{}, r.records()
	r.once(all)
	unseen, tells := map[string]bool{}, tellsExits(r.t)
	for i, rec := range all {
		if rec.Seq != uint64(i+1) {
			r.t.Fatalf("%s: record %d has number %d", way, i+1, rec.Seq)
		}
		if rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "whoever saw how has died") {
			unseen[rec.Domain] = true
		}
		if rec.Event == audit.EventEnded && rec.Status != nil {
			ended[rec.Domain] = append(ended[rec.Domain], *rec.Status)
		}
		if rec.Event == audit.EventLost {
			r.t.Errorf("%s: records were lost: %+v", way, rec)
		}
	}
	for _, domain := range []string{"names", "server", "client", "orderly"} {
		want := func(status int) bool { return status < 2 } // 1: a client whose server was faster
		if domain == "orderly" {
			want = func(status int) bool { return status == 3 }
		}
		if unseen[domain] && !tells { // before Linux 6.15, and if and only if a notice says so
			want = func(status int) bool { return status == unseenStatus }
		}
		got := ended[domain]
		if len(got) != 1 || !want(got[0]) {
			r.t.Errorf("%s: %s ended with %v", way, domain, got)
		}
	}
	if last := all[len(all)-1]; last.Event != audit.EventStopped || last.Status != nil && *last.Status != 0 {
		r.t.Errorf("%s: the last record is %+v", way, last)
	}
}

// TestKilledWhileStopping: whichever of its processes are killed while a system
// stops, its domains have the time that they were given to end in order, and it is
// recorded how they did. The control: nobody is killed.
func TestKilledWhileStopping(t *testing.T) {
	for _, roles := range [][]string{{}, {"monitor"}, {"creator"}, {"audit"}, {"monitor", "creator"}, {"monitor", "creator", "audit"}} {
		way := initials(roles)
		t.Run(way, func(t *testing.T) {
			r := up(t, orderlyDomains)
			r.report(lifeline.Ready)
			r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
			r.says("orderly", "has work")
			orderly := pidfdOf(t, r.domains()["orderly"].PID)
			var killed []*os.File
			for _, role := range roles {
				killed = append(killed, r.pidfdOfRole(role))
			}
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.says("orderly", "puts things in order")
			r.atOnce(killed...)
			for _, role := range roles {
				r.comesBack(role, 0)
			}
			if err := unix.PidfdSendSignal(int(orderly.Fd()), unix.SIGUSR1, nil, 0); err != nil {
				t.Fatalf("it was killed: %v", err)
			}
			r.endsInOrder(way)
			r.says("orderly", "\nin order\n")
		})
	}
}

// TestStoppedWhileAway: a system that is to stop while processes of wardd are away
// stops in order all the same.
func TestStoppedWhileAway(t *testing.T) {
	for _, roles := range [][]string{{"monitor"}, {"creator"}, {"audit"}, {"creator", "monitor", "audit"}} {
		t.Run(initials(roles), func(t *testing.T) {
			r := up(t, orderlyDomains)
			r.report(lifeline.Ready)
			r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
			r.says("orderly", "has work")
			orderly := pidfdOf(t, r.domains()["orderly"].PID)
			var killed []*os.File
			for _, role := range roles {
				killed = append(killed, r.pidfdOfRole(role))
			}
			// The holder, which is stopped for that long, finds both when it goes on.
			goesOn := r.stopsProcess(r.cmd.Process.Pid)
			r.atOnce(killed...)
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			goesOn()
			r.says("orderly", "puts things in order")
			if err := unix.PidfdSendSignal(int(orderly.Fd()), unix.SIGUSR1, nil, 0); err != nil {
				t.Fatalf("it was killed: %v", err)
			}
			r.endsInOrder(initials(roles))
		})
	}
}

// TestKilledWhileStarting: whichever of its processes are killed while a system
// starts, it starts, each domain once, and does what it should.
func TestKilledWhileStarting(t *testing.T) {
	const domains = pair + `  orderly: { program: PROBE, args: [orderly], needs: [client] }
  another: { program: PROBE, args: [client], needs: [orderly] }
`
	for _, roles := range [][]string{{"monitor"}, {"creator"}, {"audit"}, {"monitor", "creator"}, {"monitor", "creator", "audit"}} {
		// How much of the start has been seen when they are killed.
		for _, moment := range []string{"", "names", "server", "client", "orderly"} {
			t.Run(initials(roles)+"-"+moment, func(t *testing.T) {
				r := up(t, domains)
				for _, role := range roles {
					r.comesBack(role, 0)
				}
				if moment != "" {
					r.await(r.since, "the start of "+moment, func(rec *audit.Record) bool { return rec.Event == audit.EventStarted && rec.Domain == moment })
				}
				var killed []*os.File
				was := r.wholly()
				for _, role := range roles {
					killed = append(killed, pidfdOf(t, was[role]))
				}
				r.atOnce(killed...)
				r.report(lifeline.Ready)
				for _, role := range roles {
					r.comesBack(role, was[role])
				}
				at := time.Now()
				r.await(at, "an allowed call", isCall(audit.Allow, "hello"))
				r.await(at, "a denied call", isCall(audit.Deny, "secret"))
				r.says("orderly", "has work")
				for name, d := range r.domains() {
					if d.PID == 0 || d.Restarts != 0 {
						t.Errorf("%s is %+v", name, d)
					}
				}
				orderly := pidfdOf(t, r.domains()["orderly"].PID)
				if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				r.says("orderly", "puts things in order")
				if err := unix.PidfdSendSignal(int(orderly.Fd()), unix.SIGUSR1, nil, 0); err != nil {
					t.Fatal(err)
				}
				r.endsInOrder(initials(roles))
			})
		}
	}
}

// TestDoneWhileAway: a domain that runs to its end fails while processes of wardd are
// away, or before they are: the system ends when all such have, with their status.
func TestDoneWhileAway(t *testing.T) {
	for _, roles := range [][]string{{"monitor"}, {"creator"}, {"monitor", "creator"}} {
		for _, before := range []bool{true, false} {
			name := initials(roles) + "-while"
			if before {
				name = initials(roles) + "-before"
			}
			t.Run(name, func(t *testing.T) {
				r := up(t, pair+`  first: { program: PROBE, args: [doomed], once: true }
  second: { program: PROBE, args: [doomed], once: true }
`, "--until-done")
				r.report(lifeline.Ready)
				r.says("first", "may end")
				r.says("second", "may end")
				first, second := pidfdOf(t, r.domains()["first"].PID), pidfdOf(t, r.domains()["second"].PID)
				var killed []*os.File
				was := r.wholly()
				for _, role := range roles {
					killed = append(killed, pidfdOf(t, was[role]))
				}
				ends := func() {
					if err := unix.PidfdSendSignal(int(first.Fd()), unix.SIGUSR1, nil, 0); err != nil {
						t.Fatal(err)
					}
					r.gone([]*os.File{first})
				}
				if before {
					ends()
					r.await(r.since, "the end of the first", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "first" })
					r.atOnce(killed...)
				} else {
					goesOn := r.stopsProcess(r.cmd.Process.Pid)
					r.atOnce(killed...)
					ends()
					goesOn()
				}
				for _, role := range roles {
					r.comesBack(role, was[role])
				}
				r.await(r.since, "the end of the first", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "first" })
				if err := unix.PidfdSendSignal(int(second.Fd()), unix.SIGTERM, nil, 0); err != nil { // it ends as it should
					t.Fatal(err)
				}
				if status := r.wait(); status != 1 {
					t.Errorf("exit status %d: %s", status, r.stderr)
				}
				r.leftovers()
				statuses := map[string][]int{}
				for _, rec := range r.records() {
					if rec.Event == audit.EventEnded {
						statuses[rec.Domain] = append(statuses[rec.Domain], *rec.Status)
					}
				}
				got := statuses["first"]
				if len(got) != 1 || got[0] != 3 && (tellsExits(t) || got[0] != unseenStatus) {
					t.Errorf("the first has ended with %v", got)
				}
				if got := statuses["second"]; len(got) != 1 || got[0] != 0 {
					t.Errorf("the second has ended with %v", got)
				}
			})
		}
	}
}

// TestRestartWhileAway: a domain that is to be started again ends while processes
// of wardd are away: it is started again, once for each of its ends.
func TestRestartWhileAway(t *testing.T) {
	r := up(t, pair+"  doomed: { program: PROBE, args: [doomed], restart: always }\n")
	r.report(lifeline.Ready)
	restarts := uint32(0)
	for _, roles := range [][]string{{}, {"monitor"}, {"creator"}, {"monitor", "creator"}, {"names"}, {"names", "monitor"}} {
		way := initials(roles)
		pid := r.runs("doomed")
		doomed := pidfdOf(t, pid)
		was := r.wholly()
		was["names"] = r.runs("names")
		r.await(r.since, "what it says", func(rec *audit.Record) bool {
			return rec.Event == audit.EventStarted && rec.Domain == "doomed" && int(rec.PID) == pid
		})
		killed := []*os.File{doomed}
		for _, role := range roles {
			killed = append(killed, pidfdOf(t, was[role]))
		}
		at := time.Now()
		r.atOnce(killed...)
		restarts++
		next := r.await(at, way+": its next process", func(rec *audit.Record) bool { return rec.Event == audit.EventStarted && rec.Domain == "doomed" })
		for _, role := range roles {
			if role != "names" {
				r.comesBack(role, was[role])
			}
		}
		limit, cancel := context.WithTimeout(t.Context(), patience)
		for d := r.domains()["doomed"]; d.Restarts != restarts || d.PID != int(next.PID); d = r.domains()["doomed"] {
			if limit.Err() != nil {
				t.Fatalf("%s: it is %+v, want process %d, started again %d times", way, d, next.PID, restarts)
			}
		}
		cancel()
		r.granted(at)
		r.await(at, way+": a denied call", isCall(audit.Deny, "secret"))
	}
	r.ends()
	ended, started := 0, 0
	for _, rec := range r.records() {
		if rec.Domain == "doomed" && rec.Event == audit.EventEnded {
			ended++
		}
		if rec.Domain == "doomed" && rec.Event == audit.EventStarted {
			started++
		}
	}
	if ended != started || started != int(restarts)+1 {
		t.Errorf("it was started %d times and has ended %d times; it was killed %d times", started, ended, restarts)
	}
}
