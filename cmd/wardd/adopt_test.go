package main

import (
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// TestCreatorAndMonitorKilled: with both killed at once, whichever comes back
// first, the new creator knows the domains that the new monitor knows: it does
// not start one a second time, and signals those that run.
func TestCreatorAndMonitorKilled(t *testing.T) {
	r := up(t, pair+"  other: { program: PROBE, args: [idle] }\n")
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before := r.domains()
	for range 3 {
		at := time.Now()
		processes := r.processes()
		r.kills(processes["monitor"])
		r.kills(processes["creator"])
		r.await(at, "an allowed call after their end", isCall(audit.Allow, "hello"))
		r.comesBack("creator", processes["creator"])
		r.comesBack("monitor", processes["monitor"])
		r.sameDomains(before)
	}
	// The new creator ends what it did not start, so the system stops in order.
	r.ends()
}
