package main

import (
	"fmt"
	"strings"
	"testing"

	"ward/abi"
)

// TestAttackHoardMaps: who keeps mappings of memory whose descriptors and
// references it has given up, has no more of it made than there may be at a time,
// and keeps no more of what it was given; neither does the death of the monitor
// make it forget. The control: with the mappings gone it goes on, by far more.
func TestAttackHoardMaps(t *testing.T) {
	r, mallory, trent, _ := upMemoryAttack(t)
	gate, _ := mallory.open2(trent, "test.v1.Frames", "trent", 1)
	full := func(want string, order ...any) {
		t.Helper()
		if got := mallory.done(order...); !strings.HasPrefix(got, want+" ") || !strings.Contains(got, "4 instances") {
			t.Errorf("%v: %q, want %s, and that there are 4", order, got, want)
		}
	}
	more := func() { // the control
		t.Helper()
		if got := mallory.done("hoardmaps", 40, "frames", "unmap"); got != "40" {
			t.Errorf("control: %q", got)
		}
	}
	more()
	full("4", "hoardmaps", 40, "frames")
	full("0", "hoardmaps", 40, "frames")
	r.killsAll("monitor")
	full("0", "hoardmaps", 40, "frames")
	mallory.done("unhoard")
	more()

	// What a receiver keeps counts for who made it, and no more is given.
	for i := range 4 {
		ref, _ := mallory.two("make", "frames", 4096)
		var id uint64
		fmt.Sscan(mallory.done("offer", ref, gate, abi.AccessRead), &id)
		mallory.done("send", gate, aFrame(uint16(i+1), id, 1, 4096, false))
		trent.done("hoardgiven", id, 0)
		mallory.done("dropref", ref)
	}
	full("0", "hoardmaps", 40, "frames")
	// Its descriptors count like its mappings: mallory has not closed its own.
	trent.done("unhoard")
	full("0", "hoardmaps", 40, "frames")
	r.kills(r.domains()["mallory"].PID)
	r.ended("mallory")
	r.ends()
}
