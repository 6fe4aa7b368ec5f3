package creator

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const ownerEnv = "WARD_TEST_OWNER"

// idleAs starts a process of a user, which runs until the test ends.
func idleAs(t *testing.T, uid uint32) *os.File {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	program, err := os.Open(hostile)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/4", "idle") // the way there is not that user's
	cmd.ExtraFiles, cmd.Dir = []*os.File{in, program}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close(); cmd.Wait() })
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { f.Close() })
	return f
}

// TestAttackHiddenOwner: a monitor that is taken over names a process that the
// creator's /proc does not show, of another PID namespace or for hidepid: it is
// nobody's domain. The control: a process that is shown is its user's, and where
// the kernel says whose a hidden one is, that one too.
func TestAttackHiddenOwner(t *testing.T) {
	if os.Getenv(ownerEnv) != "" {
		hiddenOwner(t)
		return
	}
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttackHiddenOwner$", "-test.v")
	cmd.Env = append(os.Environ(), ownerEnv+"=1")
	cmd.ExtraFiles = []*os.File{idleAs(t, testUIDs+1)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func hiddenOwner(t *testing.T) {
	uid := testUIDs + 2
	procfs := func(options string) {
		t.Helper()
		if err := unix.Mount("proc", "/proc", "proc", 0, options); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	procfs("")
	outside, own := os.NewFile(3, "pidfd of a process outside"), idleAs(t, uid)
	if pid, err := procField("/proc/self/fdinfo/3", "Pid:"); err != nil || pid != "0" {
		t.Fatalf("the process outside has the number %s here, %v: this shows nothing", pid, err)
	}
	for _, is := range []uint32{testUIDs + 1, uid} {
		if err := checkOwner(outside, is); !errors.Is(err, errStranger) {
			t.Errorf("a process of another PID namespace is a domain's of user %d: %v", is, err)
		}
	}
	if err := checkOwner(own, uid); err != nil {
		t.Errorf("the control: %v", err)
	}

	procfs("hidepid=invisible,gid=4242") // group 0 would see all
	runtime.LockOSThread()               // what is given up is this thread's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	pid, err := procField("/proc/self/fdinfo/"+strconv.Itoa(int(own.Fd())), "Pid:")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Fatal("the process is shown: this shows nothing")
	}
	if err := checkOwner(own, uid+1); !errors.Is(err, errStranger) {
		t.Errorf("a hidden process is another user's: %v", err)
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CREDS}
	tells := unix.IoctlPidfdInfo(int(own.Fd()), &info) == nil
	if err := checkOwner(own, uid); tells != (err == nil) {
		t.Errorf("a hidden process is its user's: %v; the kernel says whose it is: %v", err, tells)
	}
}
