package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// rss is the resident memory of a process, in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}

// TestHundredDomains: 100 domains, each with gates to the name server and to
// the server, start within 5 s, and all processes of wardd together stay
// under 60 MiB.
func TestHundredDomains(t *testing.T) {
	if os.Getenv(builtEnv) != "" {
		t.Skip("needs a processor that is not emulated: measures time")
	}
	const domains = 100
	var yaml strings.Builder
	yaml.WriteString("  server: { program: PROBE, args: [server], exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}] }\n")
	yaml.WriteString("  client: { program: PROBE, args: [greet] }\n")
	for i := range domains - 3 { // and the name server
		fmt.Fprintf(&yaml, "  d%d: { program: PROBE, args: [greet] }\n", i)
	}
	begin := time.Now()
	r := up(t, yaml.String())
	r.report(lifeline.Ready)
	started := time.Since(begin)
	greeted := 0
	r.await(r.since, "a call of each domain", func(rec *audit.Record) bool {
		if rec.Event == audit.EventCall && rec.Verdict == audit.Allow {
			greeted++
		}
		return greeted == domains-2
	})
	called := time.Since(begin)
	sum := rss(t, r.cmd.Process.Pid)
	text := fmt.Sprintf("holder %d", sum)
	for name, pid := range r.processes() {
		n := rss(t, pid)
		sum += n
		text += fmt.Sprintf(", %s %d", name, n)
	}
	t.Logf("%d domains started in %v, all had called in %v; wardd in KiB: %s; all %d", domains, started, called, text, sum)
	if sum > 60<<10 {
		t.Errorf("wardd has %d KiB, the limit is %d", sum, 60<<10)
	}
	if started > 5*time.Second {
		t.Errorf("started in %v, the limit is 5 s", started)
	}
	for _, rec := range r.records() {
		if rec.Event == audit.EventLost {
			t.Errorf("lost: %+v", rec)
		}
	}
}
