package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

func needsRootForMemory(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: memory belongs to it")
	}
}

func mustMemory(t *testing.T, f *os.File, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mapMemory(f *os.File, prot int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), prot, unix.MAP_SHARED)
}

// What is written by one descriptor is read by the other; none changes the size.
func TestMemory(t *testing.T) {
	needsRootForMemory(t)
	const size = 3 << 16
	f, err := MakeMemory("frames", size, false)
	f = mustMemory(t, f, err)
	w, err := OpenMemory(f, true)
	w = mustMemory(t, w, err)
	r, err := OpenMemory(f, false)
	r = mustMemory(t, r, err)
	var st unix.Stat_t
	if err := unix.Fstat(int(r.Fd()), &st); err != nil || st.Size != size || st.Uid != 0 || st.Mode&0o7777 != 0o600 {
		t.Errorf("%d bytes, owner %d, mode %o, %v", st.Size, st.Uid, st.Mode, err)
	}
	b, err := mapMemory(w, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, "written")
	seen, err := mapMemory(r, unix.PROT_READ)
	if err != nil || string(seen[:7]) != "written" {
		t.Errorf("the reader: %v", err)
	}
	for name, g := range map[string]*os.File{"writer": w, "monitor": f} {
		for _, n := range []int64{0, size - 1, size + 1} {
			if err := g.Truncate(n); !errors.Is(err, unix.EPERM) {
				t.Errorf("the %s makes it %d bytes long: %v", name, n, err)
			}
		}
	}
	// Offsets are each descriptor's own.
	if _, err := w.Seek(7, 0); err != nil {
		t.Fatal(err)
	}
	if at, err := r.Seek(0, 1); at != 0 || err != nil {
		t.Errorf("the reader's offset is %d, %v", at, err)
	}
	unix.Munmap(b)
	unix.Munmap(seen)
}

// Sealing fails while somebody could write, and is for good.
func TestMemorySeal(t *testing.T) {
	needsRootForMemory(t)
	f, err := MakeMemory("frames", 1<<16, false)
	f = mustMemory(t, f, err)
	w, err := OpenMemory(f, true)
	w = mustMemory(t, w, err)
	b, err := mapMemory(w, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 1
	if err := SealMemory(f); err != ErrMapped {
		t.Errorf("sealed while it is mapped: %v", err)
	}
	if sealed, err := MemorySealed(f); sealed || err != nil {
		t.Errorf("sealed: %v, %v", sealed, err)
	}
	unix.Munmap(b)
	for range 2 { // the second time nothing is to be done
		if err := SealMemory(f); err != nil {
			t.Fatal(err)
		}
	}
	if sealed, err := MemorySealed(w); !sealed || err != nil {
		t.Errorf("sealed: %v, %v", sealed, err)
	}
	r, err := OpenMemory(f, false)
	r = mustMemory(t, r, err)
	if b, err = mapMemory(r, unix.PROT_READ); err != nil || b[0] != 1 {
		t.Errorf("a reader of what is sealed: %v", err)
	}
	unix.Munmap(b)
	if _, err := w.Write([]byte("x")); !errors.Is(err, unix.EPERM) {
		t.Errorf("written after it was sealed: %v", err)
	}
	if _, err := mapMemory(w, unix.PROT_READ|unix.PROT_WRITE); err != unix.EPERM {
		t.Errorf("mapped for writing after it was sealed: %v", err)
	}

	g, err := MakeMemory("stubborn", 1<<16, false)
	g = mustMemory(t, g, err)
	if _, err := unix.FcntlInt(g.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL); err != nil {
		t.Fatal(err)
	}
	if err := SealMemory(g); err != ErrUnsealable {
		t.Errorf("a writer has forbidden seals: %v", err)
	}
	if h, err := MakeMemory("fixed", 1<<16, true); err != nil {
		t.Error(err)
	} else if _, err := unix.FcntlInt(mustMemory(t, h, nil).Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != unix.EPERM {
		t.Errorf("shared memory is sealed by one that may write it: %v", err)
	}
}

// openForWriting are the ways to a writable file, or past one, of who was given
// a descriptor for reading.
var openForWriting = []struct {
	name string
	try  func(f *os.File) error
}{
	{"write", func(f *os.File) error { _, err := f.WriteAt([]byte("hostile"), 0); return err }},
	{"map for writing", func(f *os.File) error {
		b, err := mapMemory(f, unix.PROT_READ|unix.PROT_WRITE)
		if err == nil {
			copy(b, "hostile")
		}
		return err
	}},
	{"make a mapping writable", func(f *os.File) error {
		b, err := mapMemory(f, unix.PROT_READ)
		if err != nil {
			return err
		}
		if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return err
		}
		copy(b, "hostile")
		return nil
	}},
	{"open again", func(f *os.File) error { return reopened(f) }},
	{"open again with another mode", func(f *os.File) error {
		if err := unix.Fchmod(int(f.Fd()), 0o666); err != nil {
			return err
		}
		return reopened(f)
	}},
	{"chmod by its path, and open again", func(f *os.File) error {
		if err := os.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), 0o666); err != nil {
			return err
		}
		return reopened(f)
	}},
	{"own it, and open again", func(f *os.File) error {
		if err := unix.Fchown(int(f.Fd()), os.Getuid(), os.Getgid()); err != nil {
			return err
		}
		return reopened(f)
	}},
	{"shorten", func(f *os.File) error { return f.Truncate(0) }},
	{"shorten by its path", func(f *os.File) error { return os.Truncate(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), 0) }},
	{"punch a hole", func(f *os.File) error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}},
	{"seal", func(f *os.File) error {
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		return err
	}},
	{"open by a link", func(f *os.File) error {
		fd, err := unix.Open(fmt.Sprintf("/proc/thread-self/fd/%d", f.Fd()), unix.O_PATH, 0)
		if err != nil {
			return err
		}
		return reopened(os.NewFile(uintptr(fd), "path"))
	}},
}

func reopened(f *os.File) error {
	g, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer g.Close()
	_, err = g.WriteAt([]byte("hostile"), 0)
	return err
}

// TestAttackReader: who has a descriptor for reading writes by none of the ways
// that there are. The control: what the same attacks reach for who owns the
// memory, root without capabilities.
func TestAttackReader(t *testing.T) {
	const env = "WARD_READER_UID"
	if uid := os.Getenv(env); uid != "" {
		if uid == "0" {
			if err := (&confine.Protection{}).Apply(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range openForWriting {
			fmt.Printf("%s: %v\n", c.name, c.try(os.NewFile(3, "memory")))
		}
		return
	}
	needsRootForMemory(t)
	attack := func(uid uint32, f *os.File) (reached []string) {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestAttackReader$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", env, uid))
		cmd.ExtraFiles = []*os.File{f}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as %d: %v\n%s", uid, err, out)
		}
		tried := 0
		for line := range strings.Lines(string(out)) {
			for _, c := range openForWriting {
				if rest, ok := strings.CutPrefix(line, c.name+": "); ok {
					tried++
					if strings.TrimSpace(rest) == "<nil>" {
						reached = append(reached, c.name)
					}
				}
			}
		}
		if tried != len(openForWriting) {
			t.Fatalf("as %d: %d of %d attacks were made:\n%s", uid, tried, len(openForWriting), out)
		}
		return reached
	}
	for _, uid := range []uint32{0x70000001, 1} {
		f, err := MakeMemory("board", 1<<16, true)
		f = mustMemory(t, f, err)
		r, err := OpenMemory(f, false)
		r = mustMemory(t, r, err)
		if got := attack(uid, r); len(got) > 0 {
			t.Errorf("as %d: reached by: %s", uid, strings.Join(got, ", "))
		}
		b := make([]byte, 7)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "\x00\x00\x00\x00\x00\x00\x00" {
			t.Errorf("as %d: it reads %q, %v", uid, b, err)
		}
	}
	f, err := MakeMemory("control", 1<<16, true)
	f = mustMemory(t, f, err)
	r, err := OpenMemory(f, false)
	r = mustMemory(t, r, err)
	if got := attack(0, r); len(got) < 3 {
		t.Errorf("control: root reaches its own memory only by %v", got)
	}
}

// TestMemoryConfined: what the monitor keeps of system calls, files and
// capabilities is enough for all of it.
func TestMemoryConfined(t *testing.T) {
	const env = "WARD_MEMORY_CONFINED"
	if os.Getenv(env) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: has capabilities to give up")
		}
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestMemoryConfined$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	// As cmd/wardd's table of postures has it.
	keeps := confine.Protection{Effective: MonitorCapabilities, Table: MonitorCalls, Landlock: true, Read: []string{"/etc", "/proc", "/sys"}}
	if err := keeps.Apply(); err != nil {
		t.Fatal(err)
	}
	f, err := MakeMemory("frames", 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []bool{false, true} {
		g, err := OpenMemory(f, write)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.WriteAt([]byte("x"), 0); (err == nil) != write {
			t.Errorf("open for writing %v: %v", write, err)
		}
	}
	if err := SealMemory(f); err != nil {
		t.Error(err)
	}
	if _, err := MakeMemory("board", 1<<20, true); err != nil {
		t.Error(err)
	}
}
