package main

import (
	"strings"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

const ringDomains = `
  server: { program: FAMILY, args: [kin], exports: [test.v1.Kin] }
  namer: { program: PROBE, args: [who], exports: [test.v1.Echo] }
  keeper: { program: FAMILY, args: [stay], template: true, ring: system, lower_rings: [user] }
  asker: { program: PROBE, args: [ask], template: true, ring: service, lower_rings: [system, user] }
  twig: { program: FAMILY, args: [each, keeper, "keeper,ring=user,test.v1.Kin/One"], template: true, ring: service, lower_rings: [user], children: { number: 2 } }
`

// TestRingOfChild: children in the rings that were asked for, and theirs, are
// judged as those in that ring are, and seen so by servers, by ps and in records;
// after the deaths of who decides, too. The control: the same template in its own ring.
func TestRingOfChild(t *testing.T) {
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	chief := strings.Replace(bossLine("chief", "ring: service, children: { number: 9, depth: 2, tree: 20 }"), "[boss]", "[chief]", 1)
	r := upOf(t, []string{"testdata/system/kin.proto", "testdata/system/echo.proto", "testdata/system/ring.cedar"}, strings.ReplaceAll(ringDomains+chief, "FAMILY", family))
	r.report(lifeline.Ready)
	boss := r.attacker("chief")

	rights := " test.v1.Kin/One test.v1.Kin/Two"
	own, low := boss.done("spawn keeper"+rights), boss.done("spawn keeper ring=user"+rights)
	if own != "keeper#1" || low != "keeper@user#1" {
		t.Errorf("they are called %s and %s", own, low)
	}
	boss.refused("in its ring, system, or in one", "spawn keeper ring=service")
	boss.refused("in its ring, system, or in one", "spawn keeper ring=0")
	judged := func(way string) {
		at := r.since
		if way != "" {
			at = r.killsAll(strings.Fields(strings.TrimPrefix(way, "upgrade"))...) // nobody: all are replaced
		}
		r.await(at, way+": Two, of who is in its template's ring", called(own, audit.Allow, "Two"))
		r.await(at, way+": One, of who is in another", called(low, audit.Allow, "One"))
		r.await(at, way+": Two, of who is in another", called(low, audit.Deny, "Two"))
		all := r.domains()
		for name, level := range map[string]int32{own: 2, low: 3} {
			if d := all[name]; d.Ring != level {
				t.Errorf("%s: %s is in ring %d, want %d", way, name, d.Ring, level)
			}
		}
	}
	for _, way := range []string{"", "monitor", "creator", "monitor creator", "upgrade"} {
		judged(way)
	}

	// Who serves them sees their rings.
	for ring, sees := range map[string]string{"": "ring 1 ", "ring=system": "ring 2 ", "ring=user": "ring 3 "} {
		name := boss.done("spawn asker test.v1.Echo/Say", ring)
		if got := r.says(name, `I am .*`)[0]; !strings.Contains(got, sees) || !strings.Contains(got, `"`+name+`"`) {
			t.Errorf("%s: %s, want %s", name, got, sees)
		}
	}

	// Their children are in no more trusted ring than theirs.
	twig := boss.done("spawn twig ring=user test.v1.Kin/One")
	said := strings.Join(append(r.says(twig, `keeper: .*`), r.says(twig, `keeper,.*: .*`)...), "\n")
	if !strings.Contains(said, "would be more trusted (ring system) than its parent (ring user)") || !strings.Contains(said, "keeper,ring=user,test.v1.Kin/One: keeper@user#2") {
		t.Errorf("a child in the ring user says %s", said)
	}
	r.await(r.since, "the child of the twig", func(k *audit.Record) bool { return k.Event == audit.EventSpawned && k.Domain == "keeper@user#2" })
	records := map[string]int32{}
	for _, k := range r.records() {
		if k.Event == audit.EventSpawned && k.Verdict == audit.Allow {
			records[k.Domain] = *k.Ring
		}
	}
	for name, level := range map[string]int32{own: 2, low: 3, twig: 3, "keeper@user#2": 3} {
		if got, ok := records[name]; !ok || got != level {
			t.Errorf("the record of %s has ring %d, want %d", name, got, level)
		}
	}
	r.ends()
}
