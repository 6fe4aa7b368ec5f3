package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upPatience bounds every wait of TestUpEnds.
const upPatience = time.Minute

// A followed system is one that `ward up` runs.
type followed struct {
	t      *testing.T
	name   string
	socket string // of its export
	bin    string
	cmd    *exec.Cmd
	out    *bytes.Buffer
	kept   []*os.File // pidfds of what runs
}

func (f *followed) up(dir string) {
	f.t.Helper()
	f.cmd = exec.Command(filepath.Join(f.bin, "ward"), "up", dir)
	f.out = new(bytes.Buffer)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the group of a job of a shell
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { f.cmd.Process.Kill(); f.cmd.Wait() })
	f.until("a call", func() bool {
		b, _ := exec.Command(filepath.Join(f.bin, "ward"), "audit", "--system", f.name, "--event", "call", "--verdict", "allow").Output()
		return len(b) > 0
	})
	for _, pid := range append(descendants(f.cmd.Process.Pid), f.cmd.Process.Pid) {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			file := os.NewFile(uintptr(fd), strconv.Itoa(pid))
			f.t.Cleanup(func() { file.Close() })
			f.kept = append(f.kept, file)
		}
	}
}

// until waits for a condition.
func (f *followed) until(what string, is func() bool) {
	f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(upPatience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			f.t.Fatalf("no %s within %v", what, upPatience)
		}
	}
}

// descendants are the processes below one.
func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for _, field := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(field); err == nil {
				all = append(append(all, n), descendants(n)...)
			}
		}
	}
	return all
}

// there counts what there is of a system, by kind.
func (f *followed) there() map[string]int {
	n := map[string]int{}
	for _, p := range f.kept {
		fds := []unix.PollFd{{Fd: int32(p.Fd()), Events: unix.POLLIN}}
		if ready, _ := unix.Poll(fds, 0); ready == 0 {
			n["process"]++
		}
	}
	named := func(kind, root string, is func(fs.DirEntry) bool) {
		filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && is(d) {
				n[kind]++
			}
			return nil
		})
	}
	ours := func(d fs.DirEntry) bool { return strings.Contains(d.Name(), f.name) }
	named("cgroup", "/sys/fs/cgroup", ours)
	named("pin", "/sys/fs/bpf", ours)
	named("socket", filepath.Join("/run/ward", f.name), func(d fs.DirEntry) bool { return d.Type()&os.ModeSocket != 0 })
	if _, err := os.Lstat(f.socket); err == nil {
		n["socket"]++
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil {
		f.t.Error(err)
	} else if bytes.Contains(b, []byte(f.name)) || bytes.Contains(b, []byte(f.bin)) {
		n["mount"]++
	}
	return n
}

// TestUpEnds: however `ward up` ends, nothing of its system is left: no process,
// control group, mount, pin or socket. The control: while it runs they are there.
func TestUpEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts domains")
	}
	bin := t.TempDir()
	for d := bin; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", bin, "ward/cmd/ward", "ward/cmd/wardd", "ward/cmd/ward-names", "ward/cmd/wardd/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, c := range []struct {
		name   string
		end    func(f *followed) error
		status int // -1: of no account
	}{
		{"Ctrl-C", func(f *followed) error { return unix.Kill(-f.cmd.Process.Pid, unix.SIGINT) }, 0},
		{"SIGTERM", func(f *followed) error { return f.cmd.Process.Signal(unix.SIGTERM) }, 0},
		{"ward down", func(f *followed) error {
			return exec.Command(filepath.Join(f.bin, "ward"), "down", "--system", f.name).Run()
		}, 0},
		{"SIGKILL", func(f *followed) error { return f.cmd.Process.Kill() }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("te%d-%d", os.Getpid(), i)
			f := &followed{t: t, name: name, bin: bin, socket: filepath.Join("/run", name+"-echo.sock")}
			t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/ward", name)) })
			dir := t.TempDir()
			for file, from := range map[string]string{"echo.proto": "echo.proto", "policy.cedar": "policy.cedar"} {
				b, err := os.ReadFile(filepath.Join("../wardd/testdata/system", from))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, file), b, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			probe := filepath.Join(bin, "probe")
			text := fmt.Sprintf("ward: 1\nname: %s\ninterfaces: [echo.proto]\npolicy: [policy.cedar]\naudit: all\ndomains:\n"+
				"  server: {program: %s, args: [server], exports: [{interface: test.v1.Echo, socket: %s}]}\n"+
				"  client: {program: %[2]s, args: [client], needs: [server]}\n", name, probe, f.socket)
			if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			f.up(dir)
			before := f.there()
			// ward, four of wardd, three domains; the monitor's socket and the export's.
			if before["process"] != 8 || before["socket"] < 2 {
				t.Errorf("control: while it runs there is %v", before)
			}
			if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil && before["cgroup"] == 0 {
				t.Errorf("control: while it runs it has no control group: %v", before)
			}
			if err := c.end(f); err != nil {
				t.Fatal(err)
			}
			f.cmd.Wait()
			if status := f.cmd.ProcessState.ExitCode(); c.status >= 0 && status != c.status {
				t.Errorf("exit status %d, want %d\n%s", status, c.status, f.out)
			}
			if c.status < 0 { // nobody waits for wardd
				f.until("end of wardd", func() bool { return f.there()["process"] == 0 })
			}
			if left := f.there(); len(left) > 0 {
				t.Errorf("left: %v (there was %v)\n%s", left, before, f.out)
			}
		})
	}
}
