package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/holder/lifeline"
)

// kindsOpen counts what a process has open, by kind.
func (r *running) kindsOpen(pid int) (kinds map[string]int) {
	r.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		r.t.Fatal(err)
	}
	kinds = map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		if err == nil && !strings.HasPrefix(target, "/sys/fs/cgroup") { // Go's runtime reads its limits there
			kinds[inode.ReplaceAllString(target, "")]++
		}
	}
	return kinds
}

// TestDescriptorsDoNotGrow: however often processes of wardd and the name server are
// killed, and gates opened and closed, the holder and those that come back have no more
// descriptors than after the first time. The control: a user who is connected counts.
func TestDescriptorsDoNotGrow(t *testing.T) {
	r := upOf(t, attackSystem, strings.ReplaceAll(attackers, "client: { program: PROBE, args: [client], needs: [server] }", "client: { program: HOSTILE }"))
	r.report(lifeline.Ready)
	mallory := r.attacker("mallory")
	round := func() {
		t.Helper()
		if got := mallory.done("cycle", 10, "test.v1.Echo", "server"); !strings.HasPrefix(got, "10 ") {
			t.Fatalf("opening and closing: %s", got)
		}
		for _, role := range []string{"audit", "creator", "monitor"} {
			r.killsAll(role)
		}
		was := r.runs("names")
		r.kills(was)
		limit := time.NewTimer(patience)
		defer limit.Stop()
		for r.runs("names") == was {
			select {
			case <-limit.C:
				t.Fatal("the name server does not come back")
			default:
			}
		}
		mallory.open("ward.v1.Names", "") // it serves
		mallory.done("letgo")
	}
	all := func() map[string]map[string]int {
		found := map[string]map[string]int{"holder": r.kindsOpen(r.cmd.Process.Pid)}
		for role, pid := range r.wholly() {
			found[role] = r.kindsOpen(pid)
		}
		return found
	}
	// settled waits until nothing has changed for some looks: ended gates are swept now and then.
	settled := func() map[string]map[string]int {
		t.Helper()
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		last, same := all(), 0
		for same < 8 {
			<-tick.C
			now := all()
			if maps.EqualFunc(last, now, maps.Equal) {
				same++
			} else {
				last, same = now, 0
			}
		}
		return last
	}
	round()
	first := settled()
	for range 3 {
		round()
	}
	last := settled()
	for role, kinds := range last {
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			if before := first[role][kind]; kinds[kind] > before {
				t.Errorf("the %s has %d of %s, and had %d after the first round", role, kinds[kind], kind, before)
			}
		}
	}
	r.attacker("trent") // a user who stays connected
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for more := false; !more; {
		for role, kinds := range all() {
			for kind, n := range kinds {
				more = more || n > last[role][kind]
			}
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("the control: a user who is connected is seen nowhere")
		}
	}
}
