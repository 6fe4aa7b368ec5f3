package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// within names the cgroup in which TestWithin starts a process.
const within = "WARD_TEST_WITHIN"

// TestWithin is no test: run in a PID namespace of its own it starts a process in
// one within that, as a creator in a container would, and stays until its standard
// input ends.
func TestWithin(t *testing.T) {
	dir := os.Getenv(within)
	if dir == "" {
		t.Skip("needs to be started by TestOrphansOfOthers")
	}
	stop := sleeps(t, dir)
	fmt.Println("within")
	bufio.NewReader(os.Stdin).ReadByte()
	stop()
}

// sleeps starts a process in a cgroup and a PID namespace of its own. It stops it.
func sleeps(t *testing.T, dir string) (stop func()) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cmd := exec.Command("/bin/sh", "-c", "read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd()), Cloneflags: syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		in.Close()
		cmd.Wait()
	}
}

// orphanTree makes the cgroup of a system with a domain in it.
func orphanTree(t *testing.T, system string, holder int) (domain string) {
	t.Helper()
	tree, err := NewCgroupTree(fmt.Sprintf("ward-%s.%d", system, holder))
	if errors.Is(err, ErrNoCgroup2) {
		t.Skip("needs cgroup v2: mount -t cgroup2 none DIRECTORY")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if isDir(tree.Path()) {
			tree.Kill()
			if err := tree.Remove(); err != nil {
				t.Error(err)
			}
		}
	})
	domain = filepath.Join(tree.Path(), "domain")
	if err := os.Mkdir(domain, 0o755); err != nil {
		t.Fatal(err)
	}
	return domain
}

// dead is the number of a process that has ended, and that nobody else has soon.
func dead(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestOrphansOfOthers: who looks for what is left of a system ends neither what runs
// in a PID namespace within its own, as a system of that name in a container does,
// nor what the process holds that started it, whatever its program is called. The
// control: what is as a domain of a dead holder is ended.
func TestOrphansOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: cgroups")
	}
	system := fmt.Sprintf("orphans-%d", os.Getpid())
	left := orphanTree(t, system, dead(t))
	stop := sleeps(t, left)
	if err := EndOrphans(system); err != nil {
		t.Error(err)
	}
	if isDir(left) {
		t.Error("control: a domain of a dead holder is left alone")
	}
	stop()

	own := orphanTree(t, system, os.Getppid())
	stop = sleeps(t, own)
	defer stop()
	foreign := orphanTree(t, system, dead(t))
	inner := exec.Command("/proc/self/exe", "-test.run=^TestWithin$")
	inner.Env = append(os.Environ(), within+"="+foreign)
	inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	in, err := inner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := inner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inner.Start(); err != nil {
		t.Fatal(err)
	}
	defer inner.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "within\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := EndOrphans(system); err != nil {
		t.Error(err)
	}
	if !isDir(own) {
		t.Error("what the parent process holds was ended")
	}
	if !isDir(foreign) {
		t.Error("what runs in a PID namespace within this one was ended")
	}
}

// TestHoldersAreOfThisUser: a process of a domain that has the number of a dead
// holder, and its name, holds nothing. The control: one of this user does.
func TestHoldersAreOfThisUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user")
	}
	program := filepath.Join(t.TempDir(), holderName)
	if err := os.Symlink("/bin/sh", program); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(program), filepath.Dir(filepath.Dir(program))} { // the other user gets there, too
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32]bool{0: true, 0x70000001: false} {
		cmd := exec.Command(program, "-c", "echo ready; read x")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		in, _ := cmd.StdinPipe()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if got := holds(uint64(cmd.Process.Pid)); got != want {
			t.Errorf("a process of user %d that is called %s may hold a system: %v", uid, holderName, got)
		}
		in.Close()
		cmd.Wait()
	}
}
