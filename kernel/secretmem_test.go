package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

func needsSecretMemory(t *testing.T) {
	t.Helper()
	if err := SecretMemory(); errors.Is(err, ErrNoSecretMemory) {
		t.Skip("needs memfd_secret: Linux 6.5, or secretmem.enable=1")
	} else if err != nil {
		t.Fatal(err)
	}
}

// TestSecretMemory: it is mapped shared, and nothing else is done with it; its
// size stays, and counts as locked.
func TestSecretMemory(t *testing.T) {
	needsSecretMemory(t)
	f, err := MakeSecretMemory(5000)
	f = mustMemory(t, f, err)
	fd := int(f.Fd())
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil || fs.Type != unix.SECRETMEM_MAGIC || st.Size != 5000 {
		t.Errorf("type %#x, %d bytes, %v", fs.Type, st.Size, err)
	}
	again := fmt.Sprintf("/proc/self/fd/%d", fd)
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for _, no := range []struct {
		name string
		do   func() error
	}{
		{"read", func() error { _, err := unix.Read(fd, make([]byte, 8)); return err }},
		{"pread", func() error { _, err := unix.Pread(fd, make([]byte, 8), 0); return err }},
		{"write", func() error { _, err := unix.Write(fd, []byte("x")); return err }},
		{"pwrite", func() error { _, err := unix.Pwrite(fd, []byte("x"), 0); return err }},
		{"sendfile", func() error { _, err := unix.Sendfile(pipe[1], fd, nil, 8); return err }},
		{"splice", func() error { _, err := unix.Splice(fd, nil, pipe[1], nil, 8, 0); return err }},
		{"grow", func() error { return unix.Ftruncate(fd, 9000) }},
		{"shrink", func() error { return unix.Ftruncate(fd, 0) }},
		{"truncate", func() error { return unix.Truncate(again, 0) }},
		{"allocate", func() error { return unix.Fallocate(fd, 0, 0, 4096) }},
		{"hole", func() error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096) }},
		{"open to read", func() error { _, err := unix.Open(again, unix.O_RDONLY, 0); return err }},
		{"open to write", func() error { _, err := unix.Open(again, unix.O_RDWR, 0); return err }},
		{"seals", func() error { _, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); return err }},
		{"lease", func() error { _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); return err }},
		{"private", func() error {
			_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
			return err
		}},
	} {
		if err := no.do(); err == nil {
			t.Errorf("%s: nothing is in the way", no.name)
		}
	}
	b, err := unix.Mmap(fd, 0, 5000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	for i, c := range b {
		if c != 0 {
			t.Fatalf("byte %d is %d", i, c)
		}
	}
	copy(b[4990:], "the secret")
	other, err := unix.Mmap(fd, 0, 5000, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil || string(other[4990:]) != "the secret" {
		t.Errorf("mapped again: %v", err)
	}
	unix.Munmap(other)
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil {
		t.Errorf("kept from forks: %v", err)
	}
	if flags := mappingOf(t, os.Getpid(), "/secretmem").flags; !strings.Contains(flags, " lo ") || !strings.Contains(flags, " dc ") || !strings.Contains(flags, " dd ") {
		t.Errorf("flags %q: want it locked, in no fork and in no dump", flags)
	}
	// Its bytes go where the process sends them, but not by the page.
	if n, err := unix.Write(pipe[1], b[4990:]); n != 10 || err != nil {
		t.Errorf("written to a pipe: %d, %v", n, err)
	}
	var v unix.Iovec
	v.Base, v.Len = &b[4990], 10
	if _, err := unix.Vmsplice(pipe[1], []unix.Iovec{v}, 0); err != unix.EFAULT {
		t.Errorf("its pages in a pipe: %v", err)
	}
}

// A mapping is a line of /proc/PID/smaps and what stands under it.
type mapping struct {
	at    uint64
	flags string // with a space on each side
}

// mappingOf finds the mapping of a file.
func mappingOf(t *testing.T, pid int, name string) (m mapping) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(text)) {
		switch fields := strings.Fields(line); {
		case len(fields) > 5 && strings.Contains(fields[0], "-"):
			if found = strings.Contains(fields[5], name); found {
				from, _, _ := strings.Cut(fields[0], "-")
				if m.at, err = strconv.ParseUint(from, 16, 64); err != nil {
					t.Fatal(err)
				}
			}
		case found && len(fields) > 0 && fields[0] == "VmFlags:":
			m.flags = " " + strings.Join(fields[1:], " ") + " "
			return m
		case len(fields) > 0 && strings.Contains(fields[0], "-"):
			found = false
		}
	}
	t.Fatalf("process %d has mapped nothing of %s", pid, name)
	return m
}

// aPeek is a way to another process's memory, for who may trace it.
type aPeek struct {
	name string
	do   func(pid int, at uint64) (string, error)
}

// peeks need CAP_SYS_PTRACE.
var peeks = []aPeek{
	{"/proc/PID/mem", func(pid int, at uint64) (string, error) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return "", err
		}
		defer f.Close()
		b := make([]byte, 8)
		_, err = f.ReadAt(b, int64(at))
		return string(b), err
	}},
	{"process_vm_readv", func(pid int, at uint64) (string, error) {
		b := make([]byte, 8)
		local := unix.Iovec{Base: &b[0]}
		local.SetLen(len(b))
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(at), Len: 8}}, 0)
		return string(b), err
	}},
	{"ptrace", func(pid int, at uint64) (_ string, err error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.PtraceAttach(pid); err != nil {
			return "", err
		}
		defer unix.PtraceDetach(pid)
		var s unix.WaitStatus
		if _, err := unix.Wait4(pid, &s, unix.WALL, nil); err != nil {
			return "", err
		}
		b := make([]byte, 8)
		_, err = unix.PtracePeekData(pid, uintptr(at), b)
		return string(b), err
	}},
}

// TestAttackSecretMemory: root reads no secret memory of another process, in any
// way that goes through the kernel, and writes none. The control: other memory of
// the same process, in the same ways.
func TestAttackSecretMemory(t *testing.T) {
	const env = "WARD_SECRET_HOLDER"
	if os.Getenv(env) != "" {
		holdSecret(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: looks into another process")
	}
	needsSecretMemory(t)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestAttackSecretMemory$")
	cmd.Env = append(os.Environ(), env+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	says := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
			t.Log(lines.Text())
		}
		t.Fatalf("the holder of the memory ended before it said %q", want)
	}
	says("ready")
	pid := cmd.Process.Pid
	secret, ordinary := mappingOf(t, pid, "/secretmem").at, mappingOf(t, pid, "/memfd:ordinary").at
	for _, p := range peeks {
		if got, err := p.do(pid, ordinary); err != nil || got != "ordinary" {
			t.Errorf("control: %s of other memory: %q, %v", p.name, got, err)
		}
		if got, err := p.do(pid, secret); err == nil || strings.Contains(got, "secret") {
			t.Errorf("%s: %q, %v", p.name, got, err)
		} else if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EFAULT) {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.WriteAt([]byte("hostile!"), int64(ordinary)); err != nil {
		t.Errorf("control: written: %v", err)
	}
	if _, err := mem.WriteAt([]byte("hostile!"), int64(secret)); err == nil {
		t.Error("secret memory was written")
	}
	page := uint64(os.Getpagesize())
	for name, at := range map[string]uint64{"secret": secret, "other": ordinary} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, at, at+page))
		if (err == nil) != (name == "other") {
			t.Errorf("the file of %s memory, by its mapping: %v", name, err)
		}
		file.Close()
	}
	in.Close()
	says("still secret, and hostile")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// holdSecret has both kinds of memory, mapped and not open, until its input ends.
func holdSecret(t *testing.T) {
	size := os.Getpagesize()
	mapped := func(f *os.File, text string) []byte {
		b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		copy(b, text)
		return b
	}
	f, err := MakeSecretMemory(uint64(size))
	if err != nil {
		t.Fatal(err)
	}
	g, err := MakeMemory("ordinary", uint64(size), true)
	if err != nil {
		t.Fatal(err)
	}
	a, b := mapped(f, "a secret"), mapped(g, "ordinary")
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	fmt.Printf("still %s, and %s\n", a[2:8], b[:7])
}

// TestSecretMemoryLocked: a process maps no more than it may lock, and its forks
// inherit nothing of what is kept from them.
func TestSecretMemoryLocked(t *testing.T) {
	const env = "WARD_SECRET_LOCKED"
	const limit = 64 << 10
	if os.Getenv(env) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: becomes a user without capabilities")
		}
		needsSecretMemory(t)
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestSecretMemoryLocked$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 0x70000001, Gid: 0x70000001}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	f, err := MakeSecretMemory(2 * limit)
	f = mustMemory(t, f, err)
	maps := func(size int) ([]byte, error) {
		return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if _, err := maps(2 * limit); err != unix.EAGAIN {
		t.Errorf("more than may be locked: %v", err)
	}
	b, err := maps(limit)
	if err != nil {
		t.Fatalf("as much as may be locked: %v", err)
	}
	if _, err := maps(os.Getpagesize()); err != unix.EAGAIN {
		t.Errorf("one page more: %v", err)
	}
	unix.Munmap(b)
	if b, err = maps(limit); err != nil {
		t.Errorf("after it was unmapped: %v", err)
	}
	unix.Munmap(b)
}

// TestSecretMemoryConfined: the monitor may make it, and do no more with it.
func TestSecretMemoryConfined(t *testing.T) {
	const env = "WARD_SECRET_CONFINED"
	if os.Getenv(env) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: has capabilities to give up")
		}
		needsSecretMemory(t)
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestSecretMemoryConfined$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	keeps := confine.Protection{Effective: MonitorCapabilities, Table: MonitorCalls, Landlock: true, Read: []string{"/etc", "/proc", "/sys"}}
	if err := keeps.Apply(); err != nil {
		t.Fatal(err)
	}
	if err := SecretMemory(); err != nil {
		t.Error(err)
	}
	f, err := MakeSecretMemory(1 << 20)
	mustMemory(t, f, err)
}
