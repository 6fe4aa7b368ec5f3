package creator

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ward/image"
)

// namespaces of a process, by their names in /proc/PID/ns.
var namespaces = []string{"mnt", "pid", "pid_for_children", "ipc", "uts", "net", "cgroup"}

// TestPosture compares a live domain, seen from outside, with what it must be.
func TestPosture(t *testing.T) {
	dir := ownDir(t, 0)
	readable, writable, owned := filepath.Join(dir, "readable"), filepath.Join(dir, "writable"), filepath.Join(dir, "owned")
	for _, d := range []string{writable, owned} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(readable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGHUP) // as under nohup: the domain must not inherit it
	defer signal.Reset(syscall.SIGHUP)
	listed := []image.File{{Path: readable, Access: image.Read}, {Path: writable, Access: image.Read | image.Write}}
	mounts := []string{
		"/ ro,nosuid,nodev,noexec tmpfs",
		"/dev ro,nosuid,noexec tmpfs",
		"/tmp rw,nosuid,nodev,noexec tmpfs",
		hostile + " ro,nosuid,nodev,noatime",
		readable + " ro,nosuid,nodev,noexec,noatime",
		writable + " rw,nosuid,nodev,noexec",
	}
	if idmappedTmp(t) {
		listed = append(listed, image.File{Path: owned, Access: image.Read | image.Write, AsRoot: true})
		mounts = append(mounts, owned+" rw,nosuid,nodev,noexec,idmapped")
	}
	w := newWorld(t, 0, image.Domain{Name: "posture", Program: hostile, Args: []string{"idle"}, Env: []string{"A=b"}, Files: listed})
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	proc := fmt.Sprintf("/proc/%d", l.PID)
	no := "0000000000000000"
	id := fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", testUIDs)
	want := map[string]string{"Uid": id, "Gid": id, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1", "Umask": "0077",
		"CapInh": no, "CapPrm": no, "CapEff": no, "CapBnd": no, "CapAmb": no, "SigBlk": "0000000001000000" /* SIGXFSZ: docs/quotas.md */, "SigIgn": no, "TracerPid": "0"}
	got := map[string]string{}
	for _, line := range strings.Split(read(t, proc+"/status"), "\n") {
		key, value, _ := strings.Cut(line, ":")
		if _, ok := want[key]; ok {
			got[key] = strings.TrimSpace(value)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("status:\n%s", d)
	}
	for _, n := range namespaces {
		mine, theirs := link(t, "/proc/self/ns/"+n), link(t, proc+"/ns/"+n)
		if mine == theirs {
			t.Errorf("namespace %s is shared: %s", n, mine)
		}
	}
	if d := cmp.Diff([]string{"0 /dev/null", "1 pipe", "2 pipe", "3 socket"}, descriptors(t, proc)); d != "" {
		t.Errorf("descriptors:\n%s", d)
	}
	sort.Strings(mounts)
	if d := cmp.Diff(mounts, mountTable(t, proc)); d != "" {
		t.Errorf("mounts:\n%s", d)
	}
	tops := []string{"dev", "tmp"}
	if first := strings.Split(hostile, "/")[1]; first != "tmp" {
		tops = append(tops, first)
	}
	sort.Strings(tops)
	if d := cmp.Diff(tops, names(t, proc+"/root")); d != "" {
		t.Errorf("root:\n%s", d)
	}
	if d := cmp.Diff([]string{"full", "null", "random", "urandom", "zero"}, names(t, proc+"/root/dev")); d != "" {
		t.Errorf("/dev:\n%s", d)
	}
	if d := cmp.Diff("A=b\x00WARD_CONTROL=3\x00", read(t, proc+"/environ")); d != "" {
		t.Errorf("environment:\n%s", d)
	}
	limits := read(t, proc+"/limits")
	processes := "256"
	if strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(line(limits, "Max processes"), "Max processes")), "257 ") {
		processes = "257" // the cgroup refuses one earlier, and counts it
	}
	for name, value := range map[string]string{"Max processes": processes, "Max open files": "1024", "Max core file size": "1", "Max locked memory": "65536", "Max msgqueue size": "0"} {
		if f := strings.Fields(strings.TrimPrefix(line(limits, name), name)); len(f) < 2 || f[0] != value || f[1] != value {
			t.Errorf("%s: %v, expected %s", name, f, value)
		}
	}
	if l.Cgroup != 0 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(cgroupOf(t, proc)), &st); err != nil || st.Ino != l.Cgroup {
			t.Errorf("cgroup: inode %d, %v; announced %d", st.Ino, err, l.Cgroup)
		}
	}
	if err := w.client.Signal(context.Background(), 0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := <-w.client.Exits(); e.PID != l.PID || e.Status.Signal() != syscall.SIGKILL {
		t.Errorf("exit %+v", e)
	}
}

// cgroupOf returns the cgroup v2 directory of a process.
func cgroupOf(t *testing.T, proc string) string {
	t.Helper()
	for _, l := range strings.Split(read(t, "/proc/self/mountinfo"), "\n") {
		if strings.Contains(l, " - cgroup2 ") {
			return filepath.Join(strings.Fields(l)[4], strings.TrimPrefix(line(read(t, proc+"/cgroup"), "0::"), "0::"))
		}
	}
	t.Fatal("no cgroup2 mount")
	return ""
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func line(text, prefix string) string {
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

func link(t *testing.T, name string) string {
	t.Helper()
	s, err := os.Readlink(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func descriptors(t *testing.T, proc string) []string {
	t.Helper()
	var out []string
	for _, n := range names(t, proc+"/fd") {
		target, _, _ := strings.Cut(link(t, proc+"/fd/"+n), ":")
		out = append(out, n+" "+target)
	}
	return out
}

// mountTable lists the mounts of a process: where, per-mount options, and the
// type if it is a tmpfs of the domain's own.
func mountTable(t *testing.T, proc string) []string {
	t.Helper()
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(read(t, proc+"/mountinfo")), "\n") {
		f := strings.Fields(l)
		_, tail, _ := strings.Cut(l, " - ")
		s := f[4] + " " + strings.ReplaceAll(f[5], ",relatime", "")
		if strings.HasPrefix(tail, "tmpfs none") {
			s += " tmpfs"
		}
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

// TestFiles: each access is what it says, seen from inside.
func TestFiles(t *testing.T) {
	needRoot(t)
	if !idmappedTmp(t) {
		t.Skip("needs Linux 6.3 for ID-mapped mounts of a tmpfs")
	}
	// Not below /tmp: what Landlock grants on /tmp holds for whatever is below it.
	dir, err := os.MkdirTemp("/var/tmp", "ward-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	for _, n := range []string{"r", "w", "rw", "owned"} {
		paths[n] = filepath.Join(dir, n)
		if err := os.Mkdir(paths[n], 0o777); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o777)
		if n == "owned" {
			mode = 0o700 // root's alone
		}
		if err := os.Chmod(paths[n], mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(paths["owned"], "secret")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 0, image.Domain{Name: "files", Program: hostile, Args: []string{"usefiles", paths["r"], paths["w"], paths["rw"], paths["owned"], file, "/tmp", "/", "/dev/null"},
		Files: []image.File{
			{Path: paths["r"], Access: image.Read},
			{Path: paths["w"], Access: image.Write},
			{Path: paths["rw"], Access: image.Read | image.Write},
			{Path: paths["owned"], Access: image.Read | image.Write, AsRoot: true},
		}})
	out, _ := w.result(0)
	want := fmt.Sprintf("done  %s=r %s=c %s=rc %s=rc %s=rw /tmp=rc /= /dev/null=rw", paths["r"], paths["w"], paths["rw"], paths["owned"], file)
	if out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	if names := names(t, paths["w"]); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestInside: what a domain sees of itself.
func TestInside(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "inside", Program: hostile, Args: []string{"environment"}, Env: []string{"X=y"}},
		image.Domain{Name: "descriptors", Program: hostile, Args: []string{"descriptors"}})
	want := `done env=["X=y" "WARD_CONTROL=3"] groups=[] host=inside cwd=/ pid=1 sid=1`
	if out, _ := w.result(0); out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	// Go's runtime opens an epoll descriptor and an event descriptor of its own when it polls; this program does not.
	if out, _ := w.result(1); out != "done [0 1 2 3]" {
		t.Error(out)
	}
}

// TestHostRoot runs dynamically linked programs.
func TestHostRoot(t *testing.T) {
	needHost(t)
	script := func(s string) image.Domain {
		return image.Domain{Name: "sh", Program: "/bin/sh", Args: []string{"-c", s}, Host: true, Env: []string{"PATH=/usr/bin:/bin"}}
	}
	domains := []image.Domain{
		{Name: "true", Program: "/bin/true", Host: true},
		script("echo one | cat; echo /proc/[0-9]*; echo $$; test -w /usr || echo read-only; echo x > /tmp/f && cat /tmp/f"),
	}
	want := []string{"", "one\n/proc/1\n1\nread-only\nx"}
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		domains = append(domains, image.Domain{Name: "python", Program: "/usr/bin/python3", Args: []string{"-c", "import os, json, threading; t = threading.Thread(target=lambda: print(json.dumps(os.getpid()))); t.start(); t.join()"}, Host: true})
		want = append(want, "1")
	}
	w := newWorld(t, 0, domains...)
	for i, d := range domains {
		out, status := w.result(i)
		if status.ExitStatus() != 0 || out != want[i] {
			t.Errorf("%s: %q, status %v; expected %q", d.Name, out, status, want[i])
		}
	}
}
