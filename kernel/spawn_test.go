package kernel

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
)

const testUID = 0x7ffc0000

// needHost skips a test that runs the host's dynamically linked programs.
func needHost(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh, which the guest of make vm-test does not have")
	}
}

// shell is a sandbox that runs a script with the host's programs.
func shell(out *os.File, script string) *Sandbox {
	return &Sandbox{Name: "test", Program: "/bin/sh", Args: []string{"-c", script}, Host: true, UID: testUID, GID: testUID, Files: []*os.File{nil, out, out}}
}

// run starts s with a pipe as its output and waits for its end.
func run(t *testing.T, s *Sandbox) (string, unix.WaitStatus) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Files = []*os.File{nil, w, w}
	p, err := s.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Pidfd.Close()
	defer p.Tmp.Close() // nil where there is none
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.PID, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)), status
}

// TestLowLimits: a creator whose own hard limits are low (sudo leaves a core
// limit of 0), with and without the capability to raise them, starts programs
// all the same. In a process of its own: hard limits do not come back.
func TestLowLimits(t *testing.T) {
	needHost(t)
	const env = "WARD_TEST_LOW_LIMITS"
	if os.Getenv(env) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestLowLimits$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const files = 64
	for which, max := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: files} {
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: max, Max: max}); err != nil {
			t.Fatal(err)
		}
	}
	with, _ := run(t, shell(nil, "ulimit -Hn; ulimit -Sn"))
	// Dropped on this thread only, which is the one that starts the sandbox.
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	able := caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
	caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	caps[0].Permitted &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	without, _ := run(t, shell(nil, "ulimit -Hn; ulimit -Sn"))
	if low := "64\n64"; without != low || (!able && with != low) {
		t.Errorf("limits of open files: %q, without CAP_SYS_RESOURCE %q; the creator's is %d", with, without, files)
	}
	if high := "1024\n1024"; able && with != high {
		t.Errorf("limits of open files: %q, want %q: the creator may raise them", with, high)
	}
}

// TestDynamicProgram: a program whose dynamic linker is not in its root fails
// with a sentence about that, not with "no such file" of a file that is there.
func TestDynamicProgram(t *testing.T) {
	needHost(t)
	s := shell(nil, "true")
	program, err := filepath.EvalSymlinks(s.Program)
	if err != nil {
		t.Fatal(err)
	}
	linker, err := Interpreter(program)
	if err != nil || linker == "" {
		t.Skipf("needs a dynamically linked shell: %s: %v", program, err)
	}
	if out, _ := run(t, s); out != "" { // the control: with the host's libraries it runs
		t.Errorf("the control says %q", out)
	}
	s = shell(nil, "true")
	s.Program, s.Host = program, false
	if _, err := s.Start(); err == nil || !strings.Contains(err.Error(), program+" is dynamically linked (it needs "+linker+"): set `root: host`, or build it with CGO_ENABLED=0") {
		t.Errorf("without: %v", err)
	}
	if l, err := Interpreter("/etc/passwd"); l != "" || err != nil {
		t.Errorf("the linker of a text: %q, %v", l, err)
	}
}

// TestStepErrors: an error says which step failed and why, and leaves no process.
func TestStepErrors(t *testing.T) {
	needRoot(t)
	p := newProgram()
	p.do("umask", unix.SYS_UMASK, 0o22)
	p.try("close nothing", unix.SYS_CLOSE, 1<<20)
	p.do("open the impossible", unix.SYS_OPENAT, unix.AT_FDCWD, "/nonexistent/x", unix.O_RDONLY)
	p.do("never reached", unix.SYS_EXIT_GROUP, 0)
	_, _, err := p.run(0, -1)
	var step *stepError
	if !errors.As(err, &step) || step.what != "open the impossible" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
	if _, _, err := p.run(1<<60, -1); err == nil || !strings.HasPrefix(err.Error(), "clone3: ") {
		t.Errorf("impossible flags: %v", err)
	}
	s := shell(nil, "true")
	s.Program = "/etc/passwd"
	s.Host = false
	if _, err := s.Start(); err == nil || !strings.Contains(err.Error(), "start test: execute /etc/passwd: ") {
		t.Errorf("not a program: %v", err)
	}
	s.UID = 0
	if _, err := s.Start(); err == nil {
		t.Error("a domain of user 0")
	}
}

// TestSpawnResults: a step's result reaches up to two later steps.
func TestSpawnResults(t *testing.T) {
	needRoot(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram()
	fd := p.do("dup", unix.SYS_DUP, w.Fd())
	p.do("write", unix.SYS_WRITE, fd, "seen", 4)
	p.do("close", unix.SYS_CLOSE, fd)
	p.do("close again", unix.SYS_CLOSE, 1<<20)
	if _, _, err := p.run(0, -1); err == nil || !strings.HasPrefix(err.Error(), "close again: ") {
		t.Fatal(err)
	}
	w.Close()
	if b, err := io.ReadAll(r); string(b) != "seen" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	r.Close()
}

// TestSpawnConcurrently starts sandboxes from many goroutines, with the
// garbage collector at work.
func TestSpawnConcurrently(t *testing.T) {
	needHost(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 5 {
				s := &Sandbox{Name: "many", Program: "/bin/true", Host: true, UID: testUID + uint32(i), GID: testUID, Files: []*os.File{nil, nil, nil}}
				p, err := s.Start()
				if err != nil {
					t.Error(err)
					return
				}
				var status unix.WaitStatus
				if _, err := unix.Wait4(p.PID, &status, 0, nil); err != nil || status != 0 {
					t.Errorf("%v, %v", status, err)
				}
				p.Pidfd.Close()
				p.Tmp.Close() // nil where there is none
				_ = make([]byte, 1<<20)
			}
		}()
	}
	wg.Wait()
}

// TestSpawnLeavesNothing: no mount, descriptor or child stays, whether it
// went well or not. In a process of its own, without the garbage collector: what other
// tests left to it goes at any moment, and it would end what is forgotten here.
func TestSpawnLeavesNothing(t *testing.T) {
	needHost(t)
	const env = "WARD_TEST_SPAWN_LEAVES_NOTHING"
	if os.Getenv(env) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestSpawnLeavesNothing$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1", "GOGC=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	descriptors := func() []string {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		var open []string
		for _, e := range entries {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not that of the directory, which is closed
				open = append(open, e.Name()+" "+to)
			}
		}
		return open
	}
	run(t, shell(nil, "true")) // the runtime opens what it keeps
	before, had := mounts(), descriptors()
	run(t, shell(nil, "true"))
	bad := shell(nil, "true")
	bad.Binds = []Bind{{Path: "/nonexistent", Access: image.Read}}
	if _, err := bad.Start(); err == nil {
		t.Fatal("a missing file is no error")
	}
	if m := mounts(); m != before {
		t.Errorf("mounts: %s\nbefore: %s", m, before)
	}
	if has := descriptors(); !slices.Equal(has, had) {
		t.Errorf("descriptors %q, before %q", has, had)
	}
}

// TestLinkAttack: a domain that may write a directory plants a symbolic link
// where the creator will look for the next domain's file.
func TestLinkAttack(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shared, "file")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	open := func() error {
		fd, err := openTrusted(link)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatalf("control: root's own link in root's own directory: %v", err)
	}
	if err := os.Lchown(link, testUID, testUID); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link of the domain's was followed: %v", err)
	}
	if err := os.Lchown(link, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil { // a hard link or a rename can put root's links there
		t.Fatal(err)
	}
	if err := open(); err == nil {
		t.Error("a link in a directory that others may write was followed")
	}
	if err := os.Chown(shared, testUID, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil {
		t.Error("a link in a directory that is not root's was followed")
	}
}

// TestPlaceAttack: a directory on the way to a place for a mount is replaced
// by a link in a directory that is itself listed: the mount must not land
// where the link leads.
func TestPlaceAttack(t *testing.T) {
	needHost(t)
	dir, err := os.MkdirTemp("/var/tmp", "ward-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	inside := filepath.Join(dir, "inside")
	if err := os.MkdirAll(filepath.Join(inside, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inside, "real/file"), []byte("file"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := shell(nil, "cat "+inside+"/real/file")
	s.Binds = []Bind{{Path: inside, Access: image.Read | image.Write}, {Path: inside + "/real/file", Access: image.Read}}
	if out, _ := run(t, s); out != "file" {
		t.Fatalf("control: %q", out)
	}
	if err := os.Rename(inside+"/real", inside+"/moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("moved", inside+"/real"); err != nil {
		t.Fatal(err)
	}
	s.Files = nil
	if _, err := s.Start(); err == nil || !strings.Contains(err.Error(), "find "+inside+"/real/file") {
		t.Errorf("mounted through a link: %v", err)
	}
}

func TestOpenTrusted(t *testing.T) {
	dir := t.TempDir()
	for _, l := range [][2]string{{"loop", "loop"}, {"up", "../" + filepath.Base(dir) + "/file"}, {"abs", filepath.Join(dir, "file")}} {
		if err := os.Symlink(l[1], filepath.Join(dir, l[0])); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"loop": unix.ELOOP, "up": nil, "abs": nil, "file": nil, "missing": unix.ENOENT, "file/x": unix.ENOTDIR} {
		fd, err := openTrusted(filepath.Join(dir, name))
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			if os.Geteuid() != 0 && want == nil {
				continue // links of an ordinary user are not trusted
			}
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
	for _, bad := range []string{"", "relative", "/nul\x00"} {
		if _, err := openTrusted(bad); err == nil {
			t.Errorf("%q opens", bad)
		}
	}
}

func TestLandlockHandled(t *testing.T) {
	fs1, net1, scope1 := landlockHandled(1)
	if fs1 != 0x1fff || net1 != 0 || scope1 != 0 {
		t.Errorf("ABI 1: %#x %#x %#x", fs1, net1, scope1)
	}
	fs7, net7, scope7 := landlockHandled(7)
	if fs7 != 0xffff || net7 != 3 || scope7 != 3 {
		t.Errorf("ABI 7: %#x %#x %#x", fs7, net7, scope7)
	}
	if fs, _, _ := landlockHandled(2); fs != 0x3fff {
		t.Errorf("ABI 2 (Linux 6.1): %#x", fs)
	}
}

// TestExecuteListed: only what is listed as executable can be executed, host
// root or not.
func TestExecuteListed(t *testing.T) {
	needHost(t)
	dir, err := os.MkdirTemp("/var/tmp", "ward-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	prog := filepath.Join(dir, "copy")
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(prog, b, 0o755); err != nil {
		t.Fatal(err)
	}
	script := prog + " && echo executed; cp /bin/true /tmp/t; /tmp/t && echo executed its own"
	s := shell(nil, script)
	s.Binds = []Bind{{Path: dir, Access: image.Read}}
	if out, _ := run(t, s); strings.Contains(out, "executed") {
		t.Errorf("executed what is listed as readable only: %q", out)
	}
	s = shell(nil, script)
	s.Binds = []Bind{{Path: dir, Access: image.Read | image.Execute}}
	if out, _ := run(t, s); !strings.HasPrefix(out, "executed") || strings.Contains(out, "its own") {
		t.Errorf("%q", out)
	}
}

func TestIdmapNamespace(t *testing.T) {
	needRoot(t)
	ns, err := idmapNamespace(testUID, testUID+1)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	out, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	if mine, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(ns.Fd()))); err != nil || mine == out {
		t.Errorf("not a namespace of its own: %s, %v", mine, err)
	}
}
