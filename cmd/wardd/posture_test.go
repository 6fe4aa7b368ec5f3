package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/kernel/confine"
)

var updatePosture = flag.Bool("update-posture", false, "write testdata/posture.txt as the processes are")

const postureTable = "testdata/posture.txt"

// TestPosture compares every process of a live system with a table: its
// capabilities, namespaces, descriptors, filters, mounts, and who can reach it.
func TestPosture(t *testing.T) {
	// A system at rest: a client that calls would open and close descriptors meanwhile.
	r := upOf(t, attackSystem, strings.ReplaceAll(attackers, "client: { program: PROBE, args: [client], needs: [server] }", "client: { program: HOSTILE }"))
	r.report(lifeline.Ready)
	r.await(r.since, "the server has published", func(rec *audit.Record) bool {
		return rec.Event == audit.EventReply && rec.From == "names" && rec.To == "server"
	})
	got := r.posture("holder", r.cmd.Process.Pid)
	for _, role := range []string{"monitor", "creator", "audit"} {
		got += r.posture(role, r.processes()[role])
	}
	got += r.posture("name server", r.pid("names"))
	got += r.posture("domain", r.pid("server"))
	if *updatePosture {
		if err := os.WriteFile(postureTable, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(postureTable)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(available(t, string(want)), got); d != "" {
		t.Errorf("the processes are not as %s says (-want +got); if it is meant, run with -update-posture:\n%s", postureTable, d)
	}
}

// pid is that of a domain that runs.
func (r *running) pid(domain string) int {
	r.t.Helper()
	rec := r.await(r.since, domain+" starts", func(rec *audit.Record) bool { return rec.Event == audit.EventStarted && rec.Domain == domain })
	return int(rec.PID)
}

// available leaves out of the table the capabilities that root does not have here.
func available(t *testing.T, table string) string {
	t.Helper()
	bounding := status(t, os.Getpid(), "CapBnd")
	var out []string
	for line := range strings.SplitSeq(table, "\n") {
		if i := strings.LastIndex(line, ": "); i > 0 && strings.Contains(line[:i], "capabilities") && !strings.Contains(line, "memory") {
			name, list := line[:i], line[i+2:]
			have := slices.DeleteFunc(strings.Fields(list), func(c string) bool { return !slices.Contains(strings.Fields(bounding), c) })
			line = name + ": " + strings.Join(have, " ")
			if len(have) == 0 {
				line = name + ": none"
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// posture describes a process, all of whose threads must be alike.
func (r *running) posture(name string, pid int) string {
	t := r.t
	t.Helper()
	if pid == 0 {
		t.Fatalf("there is no %s", name)
	}
	var b strings.Builder
	line := func(what, value string) { fmt.Fprintf(&b, "%s: %s: %s\n", name, what, value) }
	for _, f := range [][2]string{{"CapEff", "capabilities"}, {"CapPrm", "capabilities that it can raise"}, {"CapBnd", "capabilities of what it executes, at most"}, {"CapInh", "inheritable capabilities"}, {"CapAmb", "ambient capabilities"},
		{"NoNewPrivs", "no_new_privs"}, {"Seccomp", "seccomp mode"}, {"Seccomp_filters", "seccomp filters"}} {
		line(f[1], status(t, pid, f[0]))
	}
	line("namespaces of its own", strings.Join(namespaces(t, pid), " "))
	kinds, inherited := r.openFiles(pid) // how many of each: descriptorcount_test.go
	line("descriptors", strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	line("descriptors that a program it executes would get", strings.Join(inherited, " "))
	line("mounts", r.mounts(pid))
	line("mapping of the image", imageMapping(t, pid).mode)
	line("its memory, for root without capabilities", reach(t, pid))
	return b.String() + "\n"
}

// status is a field of /proc/PID/status, the same for all threads.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d: no threads, %v", pid, err)
	}
	var values []string
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread has ended
		}
		for l := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(l, field+":"); ok {
				values = append(values, strings.TrimSpace(v))
			}
		}
	}
	slices.Sort(values)
	if values = slices.Compact(values); len(values) != 1 {
		t.Errorf("process %d: its threads differ in %s: %v", pid, field, values)
		return strings.Join(values, " and ")
	}
	if !strings.HasPrefix(field, "Cap") {
		return values[0]
	}
	set, err := strconv.ParseUint(values[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return confine.Capabilities(set).String()
}

// namespaces lists those that are not the test's.
func namespaces(t *testing.T, pid int) (own []string) {
	t.Helper()
	for _, n := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		mine, err1 := os.Readlink("/proc/self/ns/" + n)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if mine != theirs {
			own = append(own, n)
		}
	}
	if own == nil {
		own = []string{"none"}
	}
	return own
}

var inode = regexp.MustCompile(`:\[[0-9]+\]`)

// openFiles counts what a process has open, by kind, and lists the numbers of
// those without close-on-exec.
func (r *running) openFiles(pid int) (kinds map[string]int, inherited []string) {
	r.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		r.t.Fatal(err)
	}
	kinds = map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		info, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, e.Name()))
		if err != nil || err2 != nil {
			continue // it was closed meanwhile
		}
		target = inode.ReplaceAllString(target, "")
		target = strings.NewReplacer(r.dir, "RUN", r.bin, "BIN", "anon_inode:", "", "[", "", "]", "").Replace(target)
		// Go's runtime reads its limits from cgroups, if there are any; a log is opened when there is something to log.
		if !strings.HasPrefix(target, "/sys/fs/cgroup") && !strings.HasPrefix(target, "RUN/log/") {
			kinds[target]++
		}
		for l := range strings.Lines(string(info)) {
			v, ok := strings.CutPrefix(l, "flags:")
			if !ok {
				continue
			}
			flags, err := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			if flags&unix.O_CLOEXEC == 0 {
				inherited = append(inherited, e.Name())
			}
		}
	}
	return kinds, inherited
}

// mounts lists the mounts of a process, if they are not the host's.
func (r *running) mounts(pid int) string {
	r.t.Helper()
	read := func(pid string) string {
		b, err := os.ReadFile("/proc/" + pid + "/mountinfo")
		if err != nil {
			r.t.Fatal(err)
		}
		return string(b)
	}
	theirs := read(strconv.Itoa(pid))
	if !slices.Contains(namespaces(r.t, pid), "mnt") {
		return "the host's"
	}
	var out []string
	for l := range strings.Lines(theirs) {
		f := strings.Fields(l)
		out = append(out, strings.ReplaceAll(f[4], r.bin, "BIN")+" ("+strings.ReplaceAll(f[5], ",relatime", "")+")")
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// A mapping of the policy image.
type mapping struct {
	mode  string
	start int64
	size  int
}

// imageMapping finds the mapping of the policy image in a process.
func imageMapping(t *testing.T, pid int) mapping {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(maps)) {
		if strings.Contains(l, "/memfd:ward image") {
			var from, to int64
			m := mapping{}
			if _, err := fmt.Sscanf(l, "%x-%x %s", &from, &to, &m.mode); err != nil {
				t.Fatal(err)
			}
			m.start, m.size = from, int(to-from)
			return m
		}
	}
	return mapping{mode: "none"}
}

// reach tries to open a process's memory as root without capabilities.
func reach(t *testing.T, pid int) string {
	t.Helper()
	var err error
	withoutCapabilities(t, func() {
		var f *os.File
		if f, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err == nil {
			f.Close()
		}
	})
	if err == nil {
		return "open"
	}
	return "closed"
}

// withoutCapabilities calls f on a thread that has given them all up, and is
// destroyed afterwards.
func withoutCapabilities(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&head, &none[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
