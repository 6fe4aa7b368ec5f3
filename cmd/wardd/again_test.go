package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// restarts are the times at which the holder, or the monitor of the name server, said
// that it starts a process again that was killed: "at once", or "in" some time.
func (r *running) restarts(role string) (when []string) {
	r.t.Helper()
	domain, begin := "", fmt.Sprintf("the %s has ended (signal: killed): it is started again ", role)
	if role == "names" {
		domain, begin = role, "killed by signal SIGKILL; it is started again "
	}
	for _, rec := range r.records() {
		if rest, ok := strings.CutPrefix(rec.Detail, begin); ok && rec.Event == audit.EventNotice && rec.Domain == domain {
			rest, _, _ = strings.Cut(rest, ";")
			when = append(when, rest)
		}
	}
	return when
}

// another waits until another process than that which was has a role, or is the name server.
func (r *running) another(role string, was int) int {
	r.t.Helper()
	if role != "names" {
		return r.comesBack(role, was)
	}
	for end := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		if pid := r.runs("names"); pid != was {
			return pid
		}
		if time.Now().After(end) {
			r.t.Fatal("the name server does not come back")
		}
	}
}

// TestKilledInARow: each process of wardd, and the name server, is killed ten times in a row as soon as it is
// there, and ten times as soon as it serves again. It is started again at once each
// time, and the system goes on. That one that ends by itself is not is shown by TestCrashLoop (package
// holder) and TestNamesKilledInARow (package monitor).
func TestKilledInARow(t *testing.T) {
	const times = 10
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before := r.domains()
	roles := []string{"monitor", "creator", "audit", "names"}
	for _, role := range roles {
		pid := r.another(role, 0)
		for range times {
			r.kills(pid)
			pid = r.another(role, pid)
		}
		var back []time.Duration
		for range times {
			killing := time.Now()
			r.kills(pid)
			pid = r.another(role, pid)
			there := time.Now()
			switch role {
			case "creator": // without it gates are made all the same
				back = append(back, there.Sub(killing))
				r.granted(there)
				continue
			case "names":
				r.await(killing, "the publication", func(rec *audit.Record) bool {
					return rec.Event == audit.EventPublished && rec.From == "server"
				})
			default:
				r.granted(there)
			}
			back = append(back, time.Since(killing))
		}
		logTimes(t, role, back)
	}
	r.sameDomains(before, "names")
	r.ends()
	for _, role := range roles {
		got := r.restarts(role)
		if len(got) != 2*times || slices.ContainsFunc(got, func(when string) bool { return when != "at once" }) {
			t.Errorf("killed %d times, the %s was started again %q", 2*times, role, got)
		}
	}
}
