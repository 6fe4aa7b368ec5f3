package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

const familySystem = `
  server: { program: PROBE, args: [server], exports: [test.v1.Echo] }
  others: { program: PROBE, args: [idle], exports: [test.v1.Other] }
  broker: { program: FAMILY, args: [broker], needs: [server], once: true, ring: system, children: { number: 2, depth: 2, tree: 3 } }
  worker: { program: FAMILY, args: [worker], template: true, quota: { processes: 50 } }
  idle: { program: FAMILY, args: [idle], template: true }
  tree: { program: FAMILY, args: [idle, idle], template: true, children: { number: 1 } }
  trusted: { program: FAMILY, args: [idle], template: true, ring: kernel }
  forbidden: { program: FAMILY, args: [idle], template: true }
`

// TestFamily: a domain makes children and lends an entry point; what it tries
// beyond its rights is refused, each beside what it may do. What the children
// say is judged by their template's policy and their parent's, in the kernel.
func TestFamily(t *testing.T) {
	needsRoot(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	family := filepath.Join(bin, "family")
	r := upOf(t, []string{"testdata/system/echo.proto", "testdata/system/other.proto", "testdata/system/family.cedar"},
		strings.ReplaceAll(familySystem, "FAMILY", family), "--until-done")
	r.report(lifeline.Ready)
	broker := r.await(r.since, "the broker", func(rec *audit.Record) bool { return rec.Event == audit.EventStarted && rec.Domain == "broker" })
	// The second delegation in use: then it is revoked.
	use := r.await(r.since, "a use of the second delegation", func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "worker#1" && strings.Contains(rec.Detail, "delegation 2")
	})
	if use.Verdict != audit.Allow || use.Policy != "broker says" || use.Params["text"] != "broker" || !strings.Contains(use.Detail, "in the name of broker") {
		t.Errorf("record of a use: %+v", use)
	}
	if err := syscall.Kill(int(broker.PID), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if status := r.report(lifeline.Stopped).Status; status != 0 {
		t.Errorf("the broker found something: status %d", status)
	}
	r.wait()
	r.leftovers()
	seen := map[string]bool{}
	ended := map[string]bool{}
	for _, rec := range r.records() {
		switch {
		case rec.Event == audit.EventSpawned && rec.Verdict == audit.Allow:
			name, _, _ := strings.Cut(rec.Domain, "#") // which idle is the first is open
			seen["spawned "+name+" by "+rec.From] = true
		case rec.Event == audit.EventSpawned:
			seen["refused "+rec.To] = true
		case rec.Event == audit.EventEnded:
			ended[rec.Domain] = true
		case rec.Event == audit.EventCall && rec.From == "worker#1" && rec.Detail == "":
			text, _ := rec.Params["text"].(string)
			seen[rec.Verdict+" "+text] = true
		case rec.Event == audit.EventLent || rec.Event == audit.EventLentEnded:
			seen[rec.Event+" "+rec.Verdict] = true
		}
	}
	for _, want := range []string{"spawned worker by broker", "spawned tree by broker", "spawned idle by tree#1", "refused worker", "refused trusted", "refused forbidden",
		"allow both", "deny broker", "deny worker", "lent allow", "lent deny", "lent-ended "} {
		if !seen[want] {
			t.Errorf("the audit log does not show: %s (it shows %v)", want, seen)
		}
	}
	for _, who := range []string{"worker#1", "tree#1", "broker"} {
		if !ended[who] {
			t.Errorf("the audit log does not show the end of %s", who)
		}
	}
}
