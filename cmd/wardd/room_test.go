package main

import (
	"fmt"
	"strings"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// TestRoutesOfFamilies: 64 families have 32 routes each. One that has as many children as that
// is refused another's; its neighbour's child has its route loaded, and the first
// family's when one has ended. The monitor that comes after one that was killed counts the same.
func TestRoutesOfFamilies(t *testing.T) {
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	const share = 32
	domains := `
  server: { program: FAMILY, args: [kin], exports: [test.v1.Kin] }
  keeper: { program: FAMILY, args: [tell], template: true, quota: { processes: 20, memory: 16MiB, gates: 4 } }
` + bossLine("boss", "children: { number: 40 }, quota: { processes: 1000, memory: 1GiB, gates: 200 }") +
		bossLine("other", "children: { number: 2 }, quota: { processes: 100, memory: 128MiB, gates: 20 }")
	for i := range 62 {
		domains += fmt.Sprintf("  idle%d: { program: FAMILY, args: [rest], children: { number: 1 } }\n", i)
	}
	r := upOf(t, []string{"testdata/system/kin.proto", "testdata/system/room.cedar"}, strings.ReplaceAll(domains, "FAMILY", family))
	r.report(lifeline.Ready)
	boss, other := r.attacker("boss"), r.attacker("other")
	spawn := func(by *attacker) string { return by.done("spawn keeper test.v1.Kin/One") }
	gate := func(name string) audit.Record {
		t.Helper()
		return r.await(r.since, "a gate of "+name, func(k *audit.Record) bool { return k.Event == audit.EventGate && k.From == name })
	}
	calls := func(name string) {
		t.Helper()
		if rec := gate(name); rec.Verdict != audit.Allow {
			t.Errorf("the gate of %s: %+v", name, rec)
		}
		if got := r.says(name, `(may call:[^.]*)\.`)[1]; got != "may call: One" {
			t.Errorf("%s %s", name, got)
		}
	}
	shown := func(when string) {
		t.Helper()
		d, err := admin.Describe(t.Context(), r.dir, "boss")
		if err != nil || d.Descriptor.Routes != share || d.Descriptor.Quota.Routes != share || d.Descriptor.Hits.Routes == 0 {
			t.Errorf("%s: %d of %d routes, %d times refused, %v", when, d.Descriptor.Routes, d.Descriptor.Quota.Routes, d.Descriptor.Hits.Routes, err)
		}
	}
	first := spawn(boss)
	last := first
	for range share - 1 {
		last = spawn(boss)
		gate(last)
	}
	calls(last)
	refused := spawn(boss)
	if rec := gate(refused); rec.Verdict != audit.Deny || rec.Reason != "too many gates" {
		t.Errorf("the gate of %s: %+v", refused, rec)
	}
	r.await(r.since, "the quota that it ran into", func(k *audit.Record) bool {
		return k.Event == audit.EventQuota && k.Domain == "boss" && strings.Contains(k.Detail, "at most 32 routes")
	})
	shown("before")
	calls(spawn(other))
	r.killsAll("monitor")
	shown("after the monitor was killed")
	boss.done("kill", first)
	boss.done("wait", first)
	calls(spawn(boss))
}
