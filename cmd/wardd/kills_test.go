package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// seen is what the audit log has shown last.
type seen struct {
	mu       sync.Mutex
	last     map[string]time.Time // by kind
	changed  chan struct{}
	lost     uint64
	unpassed []audit.Record // what must not pass and did
}

func (s *seen) follow(ctx context.Context, r *running) error {
	for rec, err := range audit.Follow(ctx, filepath.Join(r.dir, audit.File), audit.Filter{Since: r.since}) {
		if err != nil {
			return err
		}
		kind := ""
		switch {
		case rec.Event == audit.EventGate && rec.Verdict == audit.Allow && isPeer(rec.To):
			kind = "gate"
		case rec.Event == audit.EventPublished && rec.From == "d0":
			kind = "published"
		case rec.Event == audit.EventEnded && rec.Domain == "names":
			kind = "ended"
		case rec.Event == audit.EventCall && isPeer(rec.To):
			kind = rec.Verdict
			if rec.Verdict == audit.Allow && saidSecret(&rec) {
				s.unpassed = append(s.unpassed, rec)
			}
		case rec.Event == audit.EventLost:
			s.lost += rec.Lost
		}
		if kind == "" {
			continue
		}
		s.mu.Lock()
		if rec.Time.After(s.last[kind]) {
			s.last[kind] = rec.Time
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	return nil
}

// after waits for a record of a kind that is not older than a time.
func (s *seen) after(t *testing.T, kind string, since time.Time) time.Time {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		at, changed := s.last[kind], s.changed
		s.mu.Unlock()
		if at.After(since) {
			return at
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("no %s after %v", kind, since)
		}
	}
}

// logTimes says how long it took until what was killed was back.
func logTimes(t *testing.T, role string, times []time.Duration) {
	slices.Sort(times)
	at := func(percent int) time.Duration { return times[(len(times)-1)*percent/100].Round(10 * time.Microsecond) }
	t.Logf("%-8s %3d kills, back after p50 %v, p99 %v, max %v", role, len(times), at(50), at(99), at(100))
}

// tooLong is a recovery that the test tells more of: whatever the machine does, it is not slowness.
const tooLong = 15 * time.Second

// explain logs what happened since a kill, but calls.
func (r *running) explain(killing time.Time, took time.Duration, role string) {
	r.t.Logf("the %s took %v:", role, took)
	for _, rec := range r.records() {
		if rec.Time.After(killing.Add(-time.Second)) && rec.Event != audit.EventCall && rec.Event != audit.EventReply && !(rec.Event == audit.EventGate && isPeer(rec.To)) {
			r.t.Logf("%v %s %s%s %s %s %s%s %s", rec.Time.Sub(killing), rec.Event, rec.Domain, rec.From, rec.To, rec.Verdict, rec.Policy, rec.Reason, rec.Detail)
		}
	}
}

// killsEnv is how many kills TestKills makes; without it, a few.
const killsEnv = "WARD_KILLS"

// TestKills: ten domains call each other, and two children of one more call them, while processes of wardd, and
// the name server, are killed at random moments. Each of them ends with an error if a call is not answered, if one
// that is denied gets through, or if what it is told by another does not come once and in its order; none
// does, none is started again, and what was killed goes on granting. Afterwards the audit log has
// every one of their calls once, judged as the policy says.
func TestKills(t *testing.T) {
	kills := 20
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s=%q is not a number", killsEnv, text)
		}
	}
	const number = 10
	domains := peerDomains(number) + fmt.Sprintf("  kid: { program: PROBE, args: [caller, %v, d0], template: true }\n", pace) +
		"  broker: { program: PROBE, args: [parent, kid, kid], needs: [d0], children: { number: 2 } }\n"
	r := upOf(t, append(slices.Clone(peersCall), "testdata/kills/broker.cedar"), domains)
	r.report(lifeline.Ready)
	ctx, cancel := context.WithCancel(context.Background())
	s := &seen{last: map[string]time.Time{}, changed: make(chan struct{})}
	followed := make(chan error, 1)
	go func() { followed <- s.follow(ctx, r) }()
	defer cancel()
	calling := map[string]bool{}
	r.await(r.since, "a call of every client", func(rec *audit.Record) bool {
		if rec.Event == audit.EventCall && isPeer(rec.To) && rec.Verdict == audit.Allow {
			calling[rec.From] = true
		}
		return len(calling) == number+2
	})
	before := r.domains()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d kills, seed %d", kills, seed)
	recovery := map[string][]time.Duration{}
	for range kills {
		role := []string{"monitor", "creator", "audit", "names"}[random.IntN(4)]
		<-time.After(time.Duration(random.IntN(50)) * time.Millisecond) // at a random moment
		var pid int
		if role == "names" {
			pid = r.runs("names")
		} else {
			pid = r.comesBack(role, 0) // the list of children lacks some while others end (proc(5))
		}
		killing := time.Now()
		r.kills(pid)
		at := time.Now()
		gate, since := s.after(t, "gate", at), at
		switch role {
		case "names":
			// To the next one: there may be one to this one while it is killed, and this test may look late.
			gate, since = s.after(t, "published", s.after(t, "ended", killing)), killing
		case "creator", "audit":
			r.comesBack(role, pid)
			if role == "creator" {
				gate = time.Now()
			}
		}
		recovery[role] = append(recovery[role], gate.Sub(since))
		if took := gate.Sub(since); took > tooLong {
			r.explain(killing, took, role)
		}
		s.after(t, audit.Allow, at)
		s.after(t, audit.Deny, at)
	}
	r.sameDomains(before, "names")
	var all []time.Duration
	for _, role := range slices.Sorted(maps.Keys(recovery)) {
		logTimes(t, role, recovery[role])
		all = append(all, recovery[role]...)
	}
	logTimes(t, "all", all)
	for name, d := range r.domains() {
		if d.State != admin.Running && name != "kid" { // that is a template
			log, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, name))
			t.Errorf("%s: %s %s: %s", name, d.State, d.Exit, tail(log))
		}
	}
	pidfds := r.pidfdsLeft()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := r.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, r.stderr)
	}
	r.gone(pidfds)
	r.leftovers()
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for rec, err := range audit.Read(filepath.Join(r.dir, audit.File), audit.Filter{Since: r.since}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; rec.Seq != n {
			t.Fatalf("record %d has number %d", n, rec.Seq)
		}
	}
	t.Logf("%d records, %d told as lost", n, s.lost)
	if len(s.unpassed) > 0 {
		t.Errorf("passed unchecked: %+v", s.unpassed[0])
	}
	r.exact()
}
