package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ward/audit"
	"ward/holder/lifeline"
)

// TestPostureOfSuccessors: whoever comes in the place of a process of wardd that was
// killed, or replaced by an upgrade, has what the table says of the first one, and no
// more: the same capabilities, filters, namespaces, mounts and kinds of descriptors. The
// image is mapped read-only in a monitor that has taken over a changed one, too.
func TestPostureOfSuccessors(t *testing.T) {
	domains := strings.ReplaceAll(attackers, "client: { program: PROBE, args: [client], needs: [server] }", "client: { program: HOSTILE }")
	r := upOf(t, attackSystem, domains)
	r.report(lifeline.Ready)
	published := func(rec *audit.Record) bool {
		return rec.Event == audit.EventReply && rec.From == "names" && rec.To == "server"
	}
	r.await(r.since, "the server has published", published)
	table, err := os.ReadFile(postureTable)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(available(t, string(table)), "domain:") // domains are those of the start
	check := func(way string) {
		t.Helper()
		limit := time.Now().Add(patience)
		for { // who has just come has some descriptors for a moment
			now := r.wholly()
			got := r.posture("holder", r.cmd.Process.Pid)
			for _, role := range []string{"monitor", "creator", "audit"} {
				got += r.posture(role, now[role])
			}
			got += r.posture("name server", r.runs("names"))
			d := cmp.Diff(want, got)
			if d == "" {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("%s: the processes are not as %s says (-want +got):\n%s", way, postureTable, d)
			}
		}
	}
	for _, way := range []killing{{"all-killed", []string{"monitor", "creator", "audit"}}, {name: "upgraded"}} {
		r.killsAll(way.roles...)
		r.kills(r.runs("names"))
		r.await(time.Now(), "the server publishes again", published)
		check(way.name)
	}
	if _, err := r.reload(append(attackSystem[:len(attackSystem):len(attackSystem)], "testdata/attack/revoked.cedar"), domains); err != nil {
		t.Fatal(err)
	}
	check("changed")
	r.killsAll("monitor")
	check("changed, and the monitor killed")
	r.stops()
}
