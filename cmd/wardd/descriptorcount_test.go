package main

import (
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

var updateDescriptors = flag.Bool("update-descriptors", false, "write testdata/descriptors.txt as the processes are")

const descriptorTable = "testdata/descriptors.txt"

// A count is how many descriptors of a kind a process of a system at rest has:
// so many, and so many more for each domain that runs, each gate to the name
// server and each other gate.
type count struct{ fixed, domain, names, gate int }

// size is what a count depends on. Of a process of wardd's: the domains of the
// system that run, the name server counted, its gates to the name server, and
// its other gates. Of a domain: the ends of gates that are its own.
type size struct{ domains, names, gates int }

func (c count) of(s size) int { return c.fixed + c.domain*s.domains + c.names*s.names + c.gate*s.gates }

func (c count) String() string {
	s := strconv.Itoa(c.fixed)
	for _, more := range []struct {
		n    int
		what string
	}{{c.domain, "domain"}, {c.names, "names"}, {c.gate, "gate"}} {
		if more.n != 0 {
			s += fmt.Sprintf(" + %d/%s", more.n, more.what)
		}
	}
	return s
}

func parseCount(s string) (c count, err error) {
	for i, term := range strings.Split(s, " + ") {
		number, what, _ := strings.Cut(term, "/")
		n, err := strconv.Atoi(number)
		to := map[string]*int{"": &c.fixed, "domain": &c.domain, "names": &c.names, "gate": &c.gate}[what]
		if err != nil || to == nil || (what == "") != (i == 0) {
			return c, fmt.Errorf("%q is not N + N/domain + N/names + N/gate", s)
		}
		*to = n
	}
	return c, nil
}

// counts are those of each kind, of each process.
type counts map[string]map[string]count

// opened is what processes have open, of each kind.
type opened map[string]map[string]int

func parseCounts(text string) (counts, error) {
	t := counts{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, ": ")
		if len(f) != 3 {
			return nil, fmt.Errorf("%q is not PROCESS: KIND: NUMBER", line)
		}
		c, err := parseCount(f[2])
		if err != nil {
			return nil, err
		}
		if t[f[0]] == nil {
			t[f[0]] = map[string]count{}
		}
		t[f[0]][f[1]] = c
	}
	return t, nil
}

// differences says where processes have not what the table says, a line each.
func (t counts) differences(sizes map[string]size, got opened) (lines []string) {
	for _, process := range slices.Sorted(maps.Keys(sizes)) {
		kinds := map[string]bool{}
		for k := range t[process] {
			kinds[k] = true
		}
		for k := range got[process] {
			kinds[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			c := t[process][k]
			if want, n := c.of(sizes[process]), got[process][k]; n != want {
				lines = append(lines, fmt.Sprintf("the %s has %d of %s, and should have %d (%v; %+v)", process, n, k, want, c, sizes[process]))
			}
		}
	}
	return lines
}

func readCounts(t *testing.T) counts {
	t.Helper()
	text, err := os.ReadFile(descriptorTable)
	if err != nil {
		t.Fatal(err)
	}
	table, err := parseCounts(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// opens counts what the processes of a system have open. All gates are between
// domains; server is the domain that is counted.
func (r *running) opens() (got opened, sizes map[string]size) {
	r.t.Helper()
	pids, sizes := map[string]int{"holder": r.cmd.Process.Pid}, map[string]size{}
	for role, pid := range r.processes() {
		pids[role] = pid
	}
	var all size
	ends := 0
	for name, d := range r.domains() {
		if d.State != admin.Running {
			continue
		}
		all.domains++
		ends += d.Gates
		switch name {
		case "names":
			all.names = d.Gates
			pids["name server"], sizes["name server"] = d.PID, size{names: d.Gates}
		case "server":
			pids["domain"], sizes["domain"] = d.PID, size{gates: d.Gates} // one of them to the name server
		}
	}
	all.gates = ends/2 - all.names
	got = opened{}
	for process, pid := range pids {
		got[process], _ = r.openFiles(pid)
		if _, ok := sizes[process]; !ok {
			sizes[process] = all
		}
	}
	return got, sizes
}

// rests waits until a system has been as it is for some looks, or as the table
// says, and returns how it is then.
func (r *running) rests(table counts) (got opened, sizes map[string]size) {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for same := 0; ; {
		last, were := got, sizes
		got, sizes = r.opens()
		if table != nil && len(table.differences(sizes, got)) == 0 {
			return got, sizes
		}
		if same++; !maps.EqualFunc(last, got, maps.Equal) || !maps.Equal(were, sizes) {
			same = 0
		}
		if same >= 20 {
			return got, sizes
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("the descriptors of its processes do not come to rest: %v", got)
		}
	}
}

// resting are systems that differ in their numbers: of those that solve takes apart, one each.
var resting = []struct {
	name    string
	domains string
	ready   func(*audit.Record) bool
}{
	{"one", "client: { program: PROBE, args: [idle] }", published},
	{"gates", "client: { program: PROBE, args: [client, 1h], needs: [server] }", func(rec *audit.Record) bool {
		return rec.Event == audit.EventReply && rec.From == "server" && rec.To == "client"
	}},
	{"names", "client: { program: PROBE, args: [idle] }\n  second: { program: PROBE, args: [server], exports: [test.v1.Echo] }", func(rec *audit.Record) bool {
		return rec.Event == audit.EventReply && rec.From == "names" && rec.To == "second"
	}},
	{"domains", "client: { program: PROBE, args: [idle] }\n  a: { program: PROBE, args: [idle] }\n  b: { program: PROBE, args: [idle] }\n  c: { program: PROBE, args: [idle] }", published},
}

func published(rec *audit.Record) bool {
	return rec.Event == audit.EventReply && rec.From == "names" && rec.To == "server"
}

// TestDescriptorNumbers compares how many descriptors of each kind the processes of
// systems at rest have with a table: one that is there too many is seen, whoever has it.
func TestDescriptorNumbers(t *testing.T) {
	var table counts
	if !*updateDescriptors {
		table = readCounts(t)
	}
	var seen []opened
	var sizes []map[string]size
	for _, s := range resting {
		t.Run(s.name, func(t *testing.T) {
			r := up(t, strings.ReplaceAll(pair, "client: { program: PROBE, args: [client], needs: [server] }", s.domains))
			r.report(lifeline.Ready)
			r.await(r.since, "the system is ready", s.ready)
			got, at := r.rests(table)
			seen, sizes = append(seen, got), append(sizes, at)
			t.Logf("%+v", at)
			if *updateDescriptors {
				return
			}
			if lines := table.differences(at, got); len(lines) > 0 {
				t.Fatalf("not as %s says; if it is meant, run with -update-descriptors:\n%s", descriptorTable, strings.Join(lines, "\n"))
			}
			for process := range at { // the control: whoever has one more
				for kind := range got[process] {
					got[process][kind]++
					if len(table.differences(map[string]size{process: at[process]}, got)) != 1 {
						t.Errorf("one of %s more in the %s is not seen", kind, process)
					}
					got[process][kind]--
				}
			}
			if s.name == "one" {
				r.oneMore(table)
			}
		})
	}
	if *updateDescriptors && len(seen) == len(resting) {
		if err := os.WriteFile(descriptorTable, []byte(solve(t, seen, sizes)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// oneMore is the control with a descriptor that is there: whoever connects to
// the operators' socket and says nothing is one socket more in the monitor.
func (r *running) oneMore(table counts) {
	r.t.Helper()
	c, err := net.Dial("unix", filepath.Join(r.dir, admin.Socket))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for seen := 0; seen < 5; { // looking makes a connection, too, which may not be closed yet
		got, sizes := r.opens()
		lines := table.differences(sizes, got)
		if seen++; !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "the monitor has ") && strings.Contains(l, " of socket,")
		}) {
			seen = 0
		}
		select {
		case <-limit.C:
			r.t.Fatalf("a connection to the monitor is not seen: %q", lines)
		default:
		}
	}
}

// solve makes the table of the systems of resting: the last has more domains than
// the first, the one before it domains and gates to the name server, the second all of it.
func solve(t *testing.T, seen []opened, sizes []map[string]size) string {
	t.Helper()
	b := new(strings.Builder)
	b.WriteString("# What each process of a system at rest has open: so many of each kind, and so many more for each\n" +
		"# domain that runs (the name server is one), each gate to the name server and each other gate; of a domain,\n" +
		"# for each gate of its own.\n" +
		"# go test ./cmd/wardd -run TestDescriptorNumbers -update-descriptors writes it.\n")
	share := func(more, of int, what string) int {
		if of == 0 {
			return 0
		}
		if more%of != 0 {
			t.Errorf("%s: %d more for %d more", what, more, of)
		}
		return more / of
	}
	for _, process := range []string{"holder", "monitor", "creator", "audit", "name server", "domain"} {
		kinds := map[string]bool{}
		for _, o := range seen {
			for k := range o[process] {
				kinds[k] = true
			}
		}
		base := sizes[0][process]
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			var c count
			more := func(i int) int {
				return seen[i][process][k] - seen[0][process][k] - c.of(sizes[i][process]) + c.of(base)
			}
			c.domain = share(more(3), sizes[3][process].domains-base.domains, process+", "+k+", domains")
			c.names = share(more(2), sizes[2][process].names-base.names, process+", "+k+", names")
			c.gate = share(more(1), sizes[1][process].gates-base.gates, process+", "+k+", gates")
			c.fixed = seen[0][process][k] - c.of(base)
			fmt.Fprintf(b, "%s: %s: %v\n", process, k, c)
		}
	}
	return b.String()
}

// TestDescriptorDifferences: the comparison sees one descriptor too many or too
// few, of each kind and of a kind that is not in the table, in each process, and
// no difference where there is none.
func TestDescriptorDifferences(t *testing.T) {
	table := readCounts(t)
	processes := []string{"holder", "monitor", "creator", "audit", "name server", "domain"}
	sizes := map[string]size{}
	got := opened{}
	for i, p := range processes {
		if len(table[p]) == 0 {
			t.Fatalf("the table says nothing of the %s", p)
		}
		sizes[p] = size{domains: 3 + i, names: i, gates: 2 * i}
		got[p] = map[string]int{}
		for k, c := range table[p] {
			got[p][k] = c.of(sizes[p])
		}
	}
	if len(table) != len(processes) {
		t.Errorf("the table has other processes than %v", processes)
	}
	if lines := table.differences(sizes, got); len(lines) > 0 {
		t.Errorf("control: %s", strings.Join(lines, "\n"))
	}
	for _, p := range processes {
		for _, k := range append(slices.Sorted(maps.Keys(table[p])), "a kind that is not in the table") {
			for _, d := range []int{1, -1} {
				got[p][k] += d
				lines := table.differences(sizes, got)
				if len(lines) != 1 || !strings.HasPrefix(lines[0], fmt.Sprintf("the %s has %d of %s,", p, got[p][k], k)) {
					t.Errorf("%+d of %s in the %s: %q", d, k, p, lines)
				}
				got[p][k] -= d
			}
		}
	}
	for _, bad := range []string{"holder: pipe", "holder: pipe: many", "holder: pipe: 1 + 2/ring", "holder: pipe: 2/gate", "holder: pipe: 1 + 2"} {
		if _, err := parseCounts(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
