package main

import (
	"context"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// Domains that a reload takes away, and that take their time to end.

// A takenAway is a system that a reload has taken domains from, who put things in order still.
type takenAway struct {
	*running
	pidfds map[string]*os.File
}

// takesAway starts a system with these domains beside a pair, takes them away, and waits
// until they were asked to end. A domain that states no grace has 200 ms.
func takesAway(t *testing.T, stays string, domains map[string]string) *takenAway {
	t.Helper()
	all := pair + stays
	for name, grace := range domains {
		all += "  " + name + ": { program: PROBE, args: [orderly], grace: " + grace + " }\n"
	}
	s := &takenAway{up(t, all, "--grace=200ms", "--longest-grace=1h"), map[string]*os.File{}}
	s.report(lifeline.Ready)
	for name := range domains {
		s.says(name, "has work")
		s.pidfds[name] = pidfdOf(t, s.domains()[name].PID)
	}
	done, err := s.reload(plainSystem, pair+stays)
	if err != nil || len(done.Stopped) != len(domains) {
		t.Fatalf("%+v, %v", done, err)
	}
	for name := range domains {
		s.says(name, "puts things in order")
	}
	return s
}

// inOrder lets a domain come to its end, for which nobody may have killed it before.
func (s *takenAway) inOrder(name string) {
	s.t.Helper()
	if err := unix.PidfdSendSignal(int(s.pidfds[name].Fd()), unix.SIGUSR1, nil, 0); err != nil {
		s.t.Errorf("%s was killed before its time: %v", name, err)
	}
	s.gone([]*os.File{s.pidfds[name]})
	s.says(name, "\nin order\n")
}

// ended is how a domain has ended, which is recorded once.
func (s *takenAway) ended(name string, want int) {
	s.t.Helper()
	var got []int
	for _, rec := range s.records() {
		if rec.Event == audit.EventEnded && rec.Domain == name && rec.Status != nil {
			got = append(got, *rec.Status)
		}
	}
	if len(got) != 1 || got[0] != want {
		s.t.Errorf("%s has ended with %v, want %d", name, got, want)
	}
}

// TestTakenAwayWhileKilled: whichever processes of wardd are killed while domains end that
// a reload has taken away, one that does not end is killed when its time is over, one
// that has more time has it, and each end is recorded once. The control: nobody is killed.
func TestTakenAwayWhileKilled(t *testing.T) {
	for _, roles := range [][]string{{}, {"monitor"}, {"creator"}, {"monitor", "creator"}, {"monitor", "creator", "audit"}} {
		t.Run(initials(roles), func(t *testing.T) {
			s := takesAway(t, "", map[string]string{"slow": "600", "stuck": "3"})
			was := s.wholly()
			var killed []*os.File
			for _, role := range roles {
				killed = append(killed, pidfdOf(t, was[role]))
			}
			s.atOnce(killed...)
			for _, role := range roles {
				s.comesBack(role, was[role])
			}
			s.gone([]*os.File{s.pidfds["stuck"]})
			s.await(s.since, "the end of stuck", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "stuck" })
			s.inOrder("slow")
			s.await(s.since, "the end of slow", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "slow" })
			if d := s.domains()["stuck"]; d.State != admin.Ended || d.Restarts != 0 {
				t.Errorf("stuck is %+v", d)
			}
			s.ends()
			s.ended("slow", 3)
			s.ended("stuck", 128+int(syscall.SIGKILL))
		})
	}
}

// TestDownWhileTakenAway: a domain that a reload has taken away has its own time also if
// the system is stopped meanwhile, by `ward down` or by a signal, with the monitor that
// took it away or with the next one. That the others had theirs shows who is killed after it.
func TestDownWhileTakenAway(t *testing.T) {
	for name, c := range map[string]struct {
		roles []string
		down  func(*takenAway) error
	}{
		"down":        {nil, func(s *takenAway) error { return admin.Down(context.Background(), s.dir) }},
		"down-next":   {[]string{"monitor"}, func(s *takenAway) error { return admin.Down(context.Background(), s.dir) }},
		"signal":      {nil, func(s *takenAway) error { return s.cmd.Process.Signal(syscall.SIGTERM) }},
		"signal-next": {[]string{"monitor"}, func(s *takenAway) error { return s.cmd.Process.Signal(syscall.SIGTERM) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := takesAway(t, "  other: { program: PROBE, args: [orderly] }\n", map[string]string{"slow": "600"})
			s.says("other", "has work")
			other := pidfdOf(t, s.domains()["other"].PID)
			was := s.wholly()
			for _, role := range c.roles {
				s.atOnce(pidfdOf(t, was[role]))
				s.comesBack(role, was[role])
				s.domains() // it answers
			}
			if err := c.down(s); err != nil {
				t.Fatal(err)
			}
			s.gone([]*os.File{other})
			s.await(s.since, "the end of the other", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "other" })
			s.inOrder("slow")
			if status := s.wait(); status != 0 {
				t.Errorf("exit status %d: %s", status, s.stderr)
			}
			s.leftovers()
			s.ended("slow", 3)
			s.ended("other", 128+int(syscall.SIGKILL))
		})
	}
}

// TestLongerGraceAtTheEnd: a reload gives domains more time to end than any had when the
// system was started. They have it when the system is ended by a signal to its first process, which
// waits for that: one is killed when its time is over, later than the holder would have waited, and
// another has not ended by then.
func TestLongerGraceAtTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as a holder waits that was told nothing, 16 s")
	}
	const before = pair + `  slow: { program: PROBE, args: [orderly] }
  stuck: { program: PROBE, args: [orderly] }
`
	const after = pair + `  slow: { program: PROBE, args: [orderly], grace: 600 }
  stuck: { program: PROBE, args: [orderly], grace: 16 }
`
	s := &takenAway{up(t, before, "--grace=200ms"), map[string]*os.File{}}
	s.report(lifeline.Ready)
	for _, name := range []string{"slow", "stuck"} {
		s.says(name, "has work")
		s.pidfds[name] = pidfdOf(t, s.domains()[name].PID)
	}
	if _, err := s.reload(plainSystem, after); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.gone([]*os.File{s.pidfds["stuck"]})
	s.inOrder("slow")
	if status := s.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, s.stderr)
	}
	s.leftovers()
	s.ended("slow", 3)
	s.ended("stuck", 128+int(syscall.SIGKILL))
}
