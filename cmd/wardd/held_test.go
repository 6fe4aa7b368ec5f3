package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// programsOf are the kernel's numbers of the BPF programs that a process has open.
func (r *running) programsOf(pid int) (numbers []string) {
	r.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fdinfo", pid))
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, e.Name())) // an error: it is closed
		for line := range strings.Lines(string(info)) {
			if number, ok := strings.CutPrefix(line, "prog_id:"); ok {
				found[strings.TrimSpace(number)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestNamesProgramsAreHeld: what judges the requests of server and client to the name
// server is verified once, whether the name server is killed, or the monitor and then the name
// server: the routes to each next one have the same programs.
func TestNamesProgramsAreHeld(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello")) // else it might not have published, or ask for its first gate
	holder := r.cmd.Process.Pid
	// heldBy waits until the holder has the programs of both, and returns them.
	heldBy := func() (numbers []string) {
		for limit := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
			if numbers = r.programsOf(holder); len(numbers) == 2 {
				return numbers
			}
			if time.Now().After(limit) {
				t.Fatalf("the holder has the programs %q, want one of each domain", numbers)
			}
		}
	}
	before := heldBy()
	for _, killed := range [][]string{{"names"}, {"monitor", "names"}, {"names", "monitor", "names"}} {
		for _, role := range killed {
			if role == "names" {
				at := time.Now()
				r.kills(r.runs("names"))
				ended := r.await(at, "the end of the name server", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "names" })
				r.await(ended.Time, "the publication", func(rec *audit.Record) bool { return rec.Event == audit.EventPublished && rec.From == "server" })
				continue
			}
			at := time.Now()
			r.kills(r.processes()[role])
			r.await(at, "its return", func(rec *audit.Record) bool {
				return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "monitor is back")
			})
		}
		monitor := r.programsOf(r.processes()["monitor"])
		for _, number := range before {
			if !slices.Contains(monitor, number) {
				t.Errorf("after the death of %q the monitor has the programs %q, and not %s, which was verified before", killed, monitor, number)
			}
		}
		if after := heldBy(); !slices.Equal(before, after) {
			t.Errorf("after the death of %q the holder has the programs %q, and had %q", killed, after, before)
		}
	}
	r.ends()
}
