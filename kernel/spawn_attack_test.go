package kernel

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestAttackInheritedDescriptor: a descriptor that the creator has open without
// close-on-exec, below or above those that a start keeps, is no domain's. The
// control: a program that is merely executed has it.
func TestAttackInheritedDescriptor(t *testing.T) {
	needHost(t)
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	var leaks []string
	for _, above := range []int{10, 200, keptFDs, keptFDs + 900} { // not 3, by which the shell itself reads the directory
		fd, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD, above)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		leaks = append(leaks, strconv.Itoa(fd))
	}
	const list = "cd /proc/self/fd && echo *" // the shell's own process: it is what was executed
	has := func(out string) (n int) {
		for _, fd := range strings.Fields(out) {
			if slices.Contains(leaks, fd) {
				n++
			}
		}
		return n
	}
	plain, err := exec.Command("/bin/sh", "-c", list).Output()
	if err != nil || has(string(plain)) != len(leaks) {
		t.Fatalf("the control has %q, %v: of %v not all are inherited", plain, err, leaks)
	}
	for name, change := range map[string]func(*Sandbox){
		"a root of its own":  func(*Sandbox) {},
		"the creator's root": func(s *Sandbox) { s.Without = WithRoot | WithLandlock },
		"without namespaces": func(s *Sandbox) { s.Without = WithNamespaces },
	} {
		s := shell(nil, list)
		change(s)
		out, status := run(t, s)
		if status.ExitStatus() != 0 || !strings.HasPrefix(out, "0 1 2") || has(out) > 0 || len(strings.Fields(out)) > 4 {
			t.Errorf("%s: the domain has the descriptors %q (status %v); the creator's are %v", name, out, status, leaks)
		}
	}
	if _, err := os.Stat("/proc/self/fd/" + leaks[0]); err != nil {
		t.Errorf("the creator has lost a descriptor of its own: %v", err)
	}
}

// TestEmptyMounts: what a root is mounted over has nothing in it and can be
// given nothing, and a domain sees no mount of the host's but those that it was
// given. The control: the host's are more.
func TestEmptyMounts(t *testing.T) {
	needHost(t)
	ns, err := emptyMounts()
	if err != nil {
		t.Fatal(err)
	}
	if ns < 0 {
		t.Skip("needs the initial user namespace")
	}
	// A process in it looks around, tries to make something, and goes up.
	buf := make([]byte, 4096)
	var read uintptr
	p := newProgram()
	p.do("enter", unix.SYS_SETNS, ns, unix.CLONE_NEWNS)
	p.try("up", unix.SYS_CHDIR, "../../../..")
	fd := p.do("open it", unix.SYS_OPENAT, unix.AT_FDCWD, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	n := p.do("list it", unix.SYS_GETDENTS64, fd, unsafe.Pointer(&buf[0]), len(buf))
	p.store(n, &read)
	p.do("write in it", unix.SYS_MKDIRAT, unix.AT_FDCWD, "made", 0o755)
	_, _, err = p.run(0, -1)
	if err == nil || err.Error() != "write in it: "+unix.EROFS.Error() {
		t.Errorf("a directory is made in it: %v", err)
	}
	_, _, names := unix.ParseDirent(buf[:read], -1, nil)
	if read == 0 || len(names) > 0 {
		t.Errorf("it has %q in it (%d bytes of a directory)", names, read)
	}
	host, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	root := func(mountinfo string) (mounts int, other []string) {
		for line := range strings.Lines(mountinfo) {
			f := strings.Fields(line)
			mounts++
			if at := f[4]; at != "/" && !slices.ContainsFunc(append([]string{"/tmp", "/dev", "/proc"}, hostTrees...), func(tree string) bool { return at == tree || strings.HasPrefix(at, tree+"/") }) {
				other = append(other, at)
			}
			if strings.Contains(line, " shared:") || strings.Contains(line, " master:") {
				other = append(other, f[4]+" is shared")
			}
		}
		return mounts, other
	}
	out, _ := run(t, shell(nil, "cat /proc/self/mountinfo"))
	if n, other := root(out); n == 0 || len(other) > 0 {
		t.Errorf("of %d mounts of a domain these are none of its own: %q", n, other)
	}
	if _, other := root(string(host)); len(other) == 0 {
		t.Error("the control: the host has no other mounts")
	}
}

// TestEmptyMountsAgain: a creator that has no descriptor left when it starts its
// first domain starts it later. In a process of its own: in this one it is made.
func TestEmptyMountsAgain(t *testing.T) {
	needRoot(t)
	const env = "WARD_TEST_NO_DESCRIPTOR"
	if os.Getenv(env) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestEmptyMountsAgain$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if !initialUser() {
		t.Skip("needs the initial user namespace")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0) // from here on there is none
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	for _, c := range []struct {
		most uint64
		want bool
	}{{uint64(next) + 1, false}, {limit.Cur, true}} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: c.most, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		if ns, err := emptyMounts(); (err == nil && ns >= 0) != c.want {
			t.Errorf("with %d descriptors it is %d, %v", c.most, ns, err)
		}
	}
}
