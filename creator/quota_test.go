package creator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ward/image"
	"ward/kernel"
)

// needController skips a test where no controller can enforce the quota.
func needController(t *testing.T, name string) {
	t.Helper()
	needRoot(t)
	have, err := kernel.CgroupControllers()
	if err != nil {
		t.Fatal(err)
	}
	if have[name] == "" {
		t.Skipf("needs a %s controller in a mounted hierarchy: mount -t cgroup -o %s none DIRECTORY", name, name)
	}
}

// Each attack takes what it can get. With the quota it gets no more than that,
// the creator says so, and a neighbour goes on and can start others. The
// control is the same attack under a quota that is wide enough for it, and so
// an outer bound that holds.
func TestAttackQuota(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name       string
		args       []string
		quota      image.Quota
		control    image.Quota
		controller string
		want       Limit
	}{
		{"processes", []string{"forkbomb", "60"}, image.Quota{Processes: 40}, image.Quota{Processes: 2000}, "pids", LimitProcesses},
		{"memory", []string{"eat", fmt.Sprint(96 * mib)}, image.Quota{Memory: 32 * mib}, image.Quota{Memory: 512 * mib}, "memory", LimitMemory},
		{"kernel memory", []string{"stuff", fmt.Sprint(24 * mib)}, image.Quota{Memory: 16 * mib}, image.Quota{Memory: 512 * mib}, "memory", LimitMemory},
		{"memory of /tmp", []string{"bigfile", "/tmp/file", fmt.Sprint(96 * mib)}, image.Quota{Memory: 32 * mib}, image.Quota{Memory: 512 * mib}, "memory", LimitMemory},
	} {
		t.Run(c.name, func(t *testing.T) {
			needController(t, c.controller)
			w := newWorld(t, 0,
				image.Domain{Name: "attacker", Program: hostile, Args: c.args, Host: true, Tmp: 128 * mib, Quota: c.quota},
				image.Domain{Name: "control", Program: hostile, Args: c.args, Host: true, Tmp: 128 * mib, Quota: c.control},
				image.Domain{Name: "neighbour", Program: hostile, Args: []string{"idle"}},
				image.Domain{Name: "later", Program: hostile, Args: []string{"descriptors"}})
			neighbour, err := w.start(2)
			if err != nil {
				t.Fatal(err)
			}
			neighbour.ready(t)
			if out, status := w.result(1); status != 0 || strings.Split(out, "\n")[0] != "done "+c.args[len(c.args)-1] {
				t.Fatalf("control: %q, %v", out, status)
			}
			select {
			case h := <-w.client.Hits():
				t.Errorf("control: %+v", h)
			default:
			}
			out, status := w.result(0)
			// What it ran into last comes before its end, so it is there already.
			select {
			case h := <-w.client.Hits():
				if h.Domain != 0 || h.Limit != c.want || h.Count == 0 {
					t.Errorf("%+v", h)
				}
			default:
				t.Errorf("nothing was told; it said %q, %v", out, status)
			}
			if c.want == LimitMemory && (!status.Signaled() || status.Signal() != syscall.SIGKILL) {
				t.Errorf("%q, %v; it was to be killed", out, status)
			}
			if out, status := w.result(3); status != 0 {
				t.Errorf("neighbour: %q, %v", out, status)
			}
			if err := neighbour.Pidfd.Close(); err != nil { // it lives: its end would have come as an Exit
				t.Error(err)
			}
		})
	}
}

// A file larger than the quota is not written; the writer is told (EFBIG).
func TestAttackFileSize(t *testing.T) {
	needRoot(t)
	args := []string{"bigfile", "/tmp/file", "1048576"}
	w := newWorld(t, 0, image.Domain{Name: "attacker", Program: hostile, Args: args, Quota: image.Quota{FileSize: 64 << 10}},
		image.Domain{Name: "control", Program: hostile, Args: args})
	if out, _ := w.result(1); out != "done 1048576" {
		t.Fatalf("control: %q", out)
	}
	if out, _ := w.result(0); out != "refused: after 65536 bytes: write /tmp/file: file too large" {
		t.Errorf("%q", out)
	}
}

// What a domain does not state it has by default: no domain is without a bound
// of processes and memory. A hard limit of CPU time is there only where asked for.
func TestDefaultLimits(t *testing.T) {
	needController(t, "memory")
	needController(t, "pids")
	needController(t, "cpu")
	w := newWorld(t, 0, image.Domain{Name: "default", Program: hostile, Args: []string{"idle"}},
		image.Domain{Name: "stated", Program: hostile, Args: []string{"idle"}, Quota: image.Quota{Processes: 50, Memory: 64 << 20, CPU: 50, CPUWeight: 300}})
	for i, want := range []struct {
		limits kernel.CgroupLimits
	}{
		{kernel.CgroupLimits{Processes: image.DefaultProcesses, Memory: image.DefaultMemory, CPUWeight: image.DefaultCPUWeight}},
		{kernel.CgroupLimits{Processes: 50, Memory: 64 << 20, CPUWeight: 300, CPU: 50}},
	} {
		l, err := w.start(i)
		if err != nil {
			t.Fatal(err)
		}
		l.ready(t)
		u, err := kernel.UseOf(l.PID)
		if err != nil {
			t.Fatal(err)
		}
		if u.Limits != want.limits {
			t.Errorf("domain %d: %+v, want %+v", i, u.Limits, want.limits)
		}
		if u.Processes == nil || *u.Processes == 0 || u.Memory == nil || *u.Memory == 0 || u.Files == nil || *u.Files < 4 || u.CPU == nil || u.AllFiles == nil || *u.AllFiles < *u.Files {
			t.Errorf("domain %d uses %+v", i, u)
		}
		if s, err := kernel.TmpUse(l.PID); err != nil || s.Bytes-s.BytesFree >= image.DefaultTmp || s.FilesFree == 0 {
			t.Errorf("domain %d uses of /tmp %+v, %v", i, s, err)
		}
	}
}

// The cgroups of a domain go with it, in all hierarchies.
func TestCgroupsGo(t *testing.T) {
	needController(t, "memory")
	w := newWorld(t, 0, image.Domain{Name: "short", Program: hostile, Args: []string{"idle"}})
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	find := func() (dirs []string) {
		filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() && e.Name() == "short" && strings.HasPrefix(filepath.Base(filepath.Dir(path)), fmt.Sprintf("ward-test-%d-", os.Getpid())) {
				dirs = append(dirs, path)
			}
			return nil
		})
		return dirs
	}
	if len(find()) == 0 {
		t.Fatal("control: no cgroup of the domain was found")
	}
	w.end()
	if left := find(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
