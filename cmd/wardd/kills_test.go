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
	"strings"
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
		case rec.Event == audit.EventGate && rec.Verdict == audit.Allow && rec.To == "server":
			kind = "gate"
		case rec.Event == audit.EventPublished && rec.From == "server":
			kind = "published"
		case rec.Event == audit.EventEnded && rec.Domain == "names":
			kind = "ended"
		case rec.Event == audit.EventCall && rec.To == "server":
			kind = rec.Verdict
			if rec.Verdict == audit.Allow && rec.Params["text"] == "secret" {
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

// killsEnv is how many kills TestKills makes; without it, a few.
const killsEnv = "WARD_KILLS"

// TestKills: ten domains, and two children of one more, call each other while processes of wardd, and the name
// server, are killed at random moments. Each client ends with an error if a
// call on its gate is lost, or one that is denied gets through; none does, none
// is started again, and what was killed goes on granting.
func TestKills(t *testing.T) {
	kills := 20
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s=%q is not a number", killsEnv, text)
		}
	}
	var domains strings.Builder
	domains.WriteString("  server: { program: PROBE, args: [server], exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}] }\n")
	fmt.Fprintf(&domains, "  client: { program: PROBE, args: [client, %v], needs: [server] }\n", pace)
	for i := range 7 {
		fmt.Fprintf(&domains, "  d%d: { program: PROBE, args: [client, %v], needs: [server] }\n", i, pace)
	}
	fmt.Fprintf(&domains, "  kid: { program: PROBE, args: [client, %v], template: true }\n", pace)
	domains.WriteString("  broker: { program: PROBE, args: [parent, kid, kid], needs: [server], children: { number: 2 } }\n")
	r := upOf(t, []string{"testdata/system/echo.proto", "testdata/kills/policy.cedar"}, domains.String())
	r.report(lifeline.Ready)
	ctx, cancel := context.WithCancel(context.Background())
	s := &seen{last: map[string]time.Time{}, changed: make(chan struct{})}
	followed := make(chan error, 1)
	go func() { followed <- s.follow(ctx, r) }()
	defer cancel()
	calling := map[string]bool{}
	r.await(r.since, "a call of every client", func(rec *audit.Record) bool {
		if rec.Event == audit.EventCall && rec.To == "server" && rec.Verdict == audit.Allow {
			calling[rec.From] = true
		}
		return len(calling) == 10
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
}
