package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

const leveledDomains = attackers + `
  seeker: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/seeker.sock}] }
state:
  level: {per: domain, values: [low, high], initial: low, moves: {low: [high]}}
`

// TestChangeOutlives: a policy that was put into force while the system ran, the
// gate and the right that it took away, and a state that was set, are as they were
// after the end of each process of wardd, of two at a time, and after an upgrade:
// on gates that were open and on new ones. The controls: before the change the right
// was there, and before the state was set it was not.
func TestChangeOutlives(t *testing.T) {
	files := append(slices.Clone(attackSystem), "testdata/attack/level.cedar")
	r := upOf(t, files, leveledDomains)
	r.report(lifeline.Ready)
	mallory, seeker := r.attacker("mallory"), r.attacker("seeker")
	gen := uint16(0)
	hello := func() string {
		gen++
		return packet(abi.Header{Kind: abi.KindCall, Slot: gen % abi.Slots, Gen: gen}, text("hello"))
	}
	says := func(a *attacker, end int) {
		t.Helper()
		a.done("send", end, hello())
		a.receives(end) // the slot is free again
	}
	taken, _ := mallory.open("test.v1.Echo", "server")
	says(mallory, taken)
	open, _ := seeker.open("test.v1.Echo", "server")
	seeker.refused(abi.ReasonDefault.String(), "send", open, hello())
	_, hash := r.image()
	if now, err := admin.SetState(context.Background(), r.dir, hash, r.level("seeker"), 1, false); err != nil || now.Value != "high" {
		t.Fatalf("%+v, %v", now, err)
	}
	says(seeker, open)
	changed, err := r.reload(append(files, "testdata/attack/revoked.cedar"), leveledDomains)
	if err != nil || len(changed.Closed) != 1 || changed.Closed[0].Policy != "mallory no more" {
		t.Fatalf("the change: %+v, %v", changed, err)
	}
	ways := append(slices.Clone(outlived), killing{name: "audit", roles: []string{"audit"}}, killing{name: "upgrade"})
	for _, way := range append([]killing{{name: "nobody"}}, ways...) {
		t.Logf("killed: %s", way.name)
		if way.name != "nobody" {
			before := r.domains()
			r.killsAll(way.roles...)
			r.sameDomains(before)
		}
		if _, now := r.image(); now != changed.Hash {
			t.Errorf("%s: the image in force is %s, and was %s", way.name, now, changed.Hash)
		}
		if mine, other := r.level("seeker"), r.level("server"); mine.Value != "high" || other.Value != "low" {
			t.Errorf("%s: the states are %s and %s", way.name, mine.Value, other.Value)
		}
		says(seeker, open)
		fresh, _ := seeker.open("test.v1.Echo", "server")
		says(seeker, fresh)
		if got := mallory.try("send", taken, hello()); !strings.HasPrefix(got, "refused") {
			t.Errorf("%s: a message passes on a gate that was closed: %s", way.name, got)
		}
		mallory.refused("mallory no more", "open", "test.v1.Echo", "server")
	}
	r.stops()
}
