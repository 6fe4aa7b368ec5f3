package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel"
	"ward/monitor/admin"
)

// isThere reports whether the monitor's socket, or what stands for it, is in a run directory.
func isThere(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, admin.Socket))
	return err == nil
}

// lockShut takes the lock of a file or directory that a wardd takes.
func lockShut(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAttackClearLiving: `ward up` takes nothing from a system of which something
// lives, though its lock is free: of one whose monitor listens; of one with a process in
// its cgroup. The control: as soon as that has ended, it is cleared up.
func TestAttackClearLiving(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, dir string) (end func()){
		"a monitor that listens": func(t *testing.T, dir string) func() {
			path := filepath.Join(dir, admin.Socket)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if !lives(dir) {
				t.Error("it does not live")
			}
			return func() { l.Close() }
		},
		"a process in its cgroup": func(t *testing.T, dir string) func() {
			if os.Geteuid() != 0 {
				t.Skip("needs root: cgroups")
			}
			tree, err := kernel.NewCgroupTree("ward-" + filepath.Base(dir) + "." + strconv.Itoa(os.Getpid()))
			if err != nil {
				t.Skip("needs cgroup v2: ", err)
			}
			t.Cleanup(func() { tree.Remove() })
			at, err := os.Open(tree.Path())
			if err != nil {
				t.Fatal(err)
			}
			defer at.Close()
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestLivingWaits$")
			cmd.Env, cmd.Stdin = append(os.Environ(), waitsEnv+"=1"), in
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(at.Fd())}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() {
				out.Close()
				cmd.Wait()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRunRoot(t)
			dir := lockedDir(t, "clear"+strconv.Itoa(os.Getpid()), false)
			end := begin(t, dir)
			clearEnded("mine")
			clearEndedDir(dir)
			if !isThere(dir) {
				t.Error("it was cleared up while something of it lives")
			}
			end()
			clearEnded("mine")
			if isThere(dir) {
				t.Error("the control: it has ended, and was not cleared up")
			}
		})
	}
}

const waitsEnv, elsewhereEnv = "WARD_TEST_WAITS", "WARD_TEST_ELSEWHERE"

// TestLivingWaits is no test: a process that runs until its input ends.
func TestLivingWaits(t *testing.T) {
	if os.Getenv(waitsEnv) != "" {
		os.Stdin.Read(make([]byte, 1))
	}
}

// TestLivingElsewhere: a holder in another PID namespace, which no list here has,
// lives all the same, and nothing of it is cleared up. The control: one that has ended.
func TestLivingElsewhere(t *testing.T) {
	if root := os.Getenv(elsewhereEnv); root != "" {
		elsewhere(t, root)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	inRunRoot(t)
	lockedDir(t, "live", true)
	lockedDir(t, "dead", false)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLivingElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), elsewhereEnv+"="+runRoot)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func elsewhere(t *testing.T, root string) {
	runRoot = root
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	live, dead := filepath.Join(root, "live"), filepath.Join(root, "dead")
	if pid, err := holderOf(live); err != nil || pid != 0 {
		t.Fatalf("the holder is to be seen, as process %d (%v): this shows nothing", pid, err)
	}
	if !lives(live) || lives(dead) {
		t.Errorf("the one that lives does: %v, the one that has ended: %v", lives(live), lives(dead))
	}
	clearEnded("mine")
	if !isThere(live) || isThere(dead) {
		t.Errorf("the one that lives is there: %v, the one that has ended: %v", isThere(live), isThere(dead))
	}
}

// TestAttackClearingIsNoHolder: who clears up after a system is not taken for its
// holder, which `ward down --force` kills. The control: a holder is.
func TestAttackClearingIsNoHolder(t *testing.T) {
	inRunRoot(t)
	dir := lockedDir(t, "dead", false)
	cleared := false
	clearing, err := clearAlone(runRoot)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := clearAlone(runRoot); err == nil {
		again.Close()
		t.Error("two clear up at a time")
	}
	whileEnded(dir, func() {
		cleared = true
		if h, err := openHolder(dir); h != nil || err != nil {
			t.Errorf("who clears up is the holder: %+v, %v", h, err)
		}
		if fd, err := unix.Open(filepath.Join(dir, lockFile), unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			t.Error(err)
		} else {
			if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
				t.Error("a system starts while its directory is cleared")
			}
			unix.Close(fd)
		}
	})
	clearing.Close()
	if !cleared {
		t.Error("it was not cleared up")
	}
	lockShut(t, filepath.Join(dir, lockFile))
	h, err := openHolder(dir)
	if err != nil || h == nil || h.pid != os.Getpid() {
		t.Fatalf("the control: the holder is %+v, %v", h, err)
	}
	h.Close()
}
