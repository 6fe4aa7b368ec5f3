package gate_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// memoryMonitor has one object that `maker` makes and all may have, one that
// only `maker` may have, and one that is shared.
func memoryMonitor(t *testing.T) *gatetest.Monitor {
	m := gatetest.NewMonitor(t)
	all := []string{"maker", "taker", "third"}
	m.Objects(map[string]*gatetest.Object{
		"frames": {Size: 1 << 20, Makers: []string{"maker"}, Readers: all, Writers: []string{"taker"}},
		"large":  {Size: 2 << 20, Makers: []string{"maker"}},
		"secret": {Size: 4096, Makers: []string{"maker"}},
		"board":  {Size: 8192, Shared: true, Readers: []string{"maker", "taker"}, Writers: []string{"maker"}},
	})
	return m
}

// settle returns when the monitor has read all that a domain has told it.
func settle(t *testing.T, domains ...*gate.Domain) {
	t.Helper()
	for _, d := range domains {
		_, err := d.Make(t.Context(), "none", 1)
		wantCode(t, err, gate.PermissionDenied)
	}
}

func TestMake(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	mem, err := maker.Make(t.Context(), "frames", 5000)
	if err != nil {
		t.Fatal(err)
	}
	if mem.Size() != 5000 || !mem.Writable() || mem.Constant() {
		t.Errorf("size %d, writable %v, constant %v", mem.Size(), mem.Writable(), mem.Constant())
	}
	b, err := mem.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 5000 || !bytes.Equal(b, make([]byte, 5000)) {
		t.Errorf("%d bytes, or not zeros", len(b))
	}
	b[4999] = 7
	again, err := mem.Bytes()
	if err != nil || &again[0] != &b[0] {
		t.Errorf("another slice: %v", err)
	}
	if err := mem.Unmap(); err != nil {
		t.Error(err)
	}
	if err := mem.Unmap(); err != nil {
		t.Error(err)
	}
	if b, err = mem.Bytes(); err != nil || b[4999] != 7 {
		t.Errorf("what was written is gone: %v", err)
	}
	if n, err := mem.File().ReadAt(make([]byte, 6000), 0); n != 5000 || err == nil {
		t.Errorf("read %d bytes of the file, %v", n, err)
	}

	whole, err := maker.Make(t.Context(), "frames", 0)
	if err != nil || whole.Size() != 1<<20 {
		t.Fatalf("as large as it may be: %v", err)
	}
	if n := m.References("maker"); n != 2 {
		t.Errorf("%d references", n)
	}
	for _, mem := range []*gate.Memory{mem, whole, whole} {
		if err := mem.Close(); err != nil {
			t.Error(err)
		}
	}
	settle(t, maker)
	if n := m.References("maker"); n != 0 {
		t.Errorf("%d references after Close", n)
	}
	_, err = mem.Bytes()
	wantCode(t, err, gate.FailedPrecondition)
	if mem.Writable() || mem.Constant() || mem.File() != nil {
		t.Error("it is closed, and is not")
	}

	_, err = maker.Make(t.Context(), "frames", 1<<20+1)
	wantCode(t, err, gate.ResourceExhausted)
	_, err = maker.Make(t.Context(), "frames", -1)
	wantCode(t, err, gate.InvalidArgument)
	_, err = taker.Make(t.Context(), "frames", 1)
	if e := wantCode(t, err, gate.PermissionDenied); e.Message != `make frames: default deny: no policy lets taker create Object::"frames"` || !e.Denied() {
		t.Errorf("%+v", e)
	}
}

func TestSharedMemory(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	w, err := maker.OpenMemory(t.Context(), "board", gate.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	r, err := taker.OpenMemory(t.Context(), "board", gate.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	if !w.Writable() || r.Writable() || r.Constant() {
		t.Errorf("writable %v and %v, constant %v", w.Writable(), r.Writable(), r.Constant())
	}
	from, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	to, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	from[17] = 42
	if to[17] != 42 || len(to) != 8192 {
		t.Errorf("%d of %d bytes is %d", 17, len(to), to[17])
	}
	// What the reader has cannot be turned into more.
	if err := unix.Mprotect(to, unix.PROT_READ|unix.PROT_WRITE); !errors.Is(err, unix.EACCES) {
		t.Errorf("mprotect: %v", err)
	}
	if _, err := r.File().WriteAt([]byte{1}, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("write: %v", err)
	}
	if err := w.File().Truncate(0); !errors.Is(err, unix.EPERM) { // even who may write
		t.Errorf("truncate: %v", err)
	}
	_, err = taker.OpenMemory(t.Context(), "board", gate.ReadWrite)
	wantCode(t, err, gate.PermissionDenied)
	_, err = taker.OpenMemory(t.Context(), "frames", gate.ReadOnly)
	if e := wantCode(t, err, gate.PermissionDenied); !strings.Contains(e.Message, `no policy lets taker read Object::"frames"`) {
		t.Errorf("%+v", e)
	}
	_, err = maker.OpenMemory(t.Context(), "board", 2)
	wantCode(t, err, gate.InvalidArgument)
	w.Close()
	r.Close()
}

// held counts the descriptors that TestHostileMemory has sent and that are open.
func held(t *testing.T, file string) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && (strings.HasPrefix(to, "/memfd:hostile") || strings.HasPrefix(to, "/anon_hugepage") || to == file || to == "/dev/zero") {
			n++
		}
	}
	return n
}

// A monitor that answers with something else than what was asked for, as a bug
// of it or who has taken it over could, cannot make the program fault, nor trust
// memory that others may write.
func TestHostileMemory(t *testing.T) {
	memfd := func(size int64, seals int) func(*testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.MemfdCreate("hostile", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Ftruncate(fd, size); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	huge := func(t *testing.T) int {
		fd, err := unix.MemfdCreate("hostile", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_HUGETLB)
		if err != nil {
			t.Skip("needs hugetlbfs: ", err)
		}
		if err := unix.Ftruncate(fd, 2<<20); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	open := func(path string, flags int) func(*testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	reopened := func(flags int) func(*testing.T) int {
		return func(t *testing.T) int {
			fd := memfd(4096, fixed)(t)
			defer unix.Close(fd)
			return open("/proc/self/fd/"+strconv.Itoa(fd), flags)(t)
		}
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fd     func(*testing.T) int // nil: none
		large  bool
		twice  bool
		answer abi.Control
		good   bool
	}{
		"what is asked for":         {fd: memfd(4096, fixed), good: true},
		"a size that is not sealed": {fd: memfd(4096, unix.F_SEAL_SHRINK)},
		"that may shrink":           {fd: memfd(4096, unix.F_SEAL_GROW)},
		"without seals":             {fd: memfd(4096, 0)},
		"smaller than it says":      {fd: memfd(4095, fixed)},
		"larger than it says":       {fd: memfd(8192, fixed)},
		"empty":                     {fd: memfd(0, fixed)},
		"of another size":           {fd: memfd(8192, fixed), answer: abi.Control{Size: 8192}},
		"of huge pages":             {fd: huge, large: true},
		"no descriptor":             {},
		"two descriptors":           {fd: memfd(4096, fixed), twice: true},
		"read-only":                 {fd: reopened(unix.O_RDONLY)},
		"a path":                    {fd: reopened(unix.O_PATH)},
		"a file":                    {fd: open(file, unix.O_RDWR)},
		"a directory":               {fd: open("/", unix.O_RDONLY)},
		"a device":                  {fd: open("/dev/zero", unix.O_RDWR)},
		"no reference":              {fd: memfd(4096, fixed), answer: abi.Control{Handle: 1 << 63}},
		"less access":               {fd: memfd(4096, fixed), answer: abi.Control{Access: abi.AccessRead}},
		"unknown access":            {fd: memfd(4096, fixed), answer: abi.Control{Access: 7}},
		"another message":           {fd: memfd(4096, fixed), answer: abi.Control{Op: abi.OpOK}},
		"a gate":                    {fd: memfd(4096, fixed), answer: abi.Control{Op: abi.OpGate}},
	} {
		t.Run(name, func(t *testing.T) {
			m := memoryMonitor(t)
			m.Tamper = func(request, answer *abi.Control, fds []int) []int {
				if request.Op != abi.OpMake || request.Name == "none" {
					return fds
				}
				for _, fd := range fds {
					unix.Close(fd)
				}
				if c.answer.Op != 0 {
					answer.Op = c.answer.Op
				}
				if c.answer.Size != 0 {
					answer.Size = c.answer.Size
				}
				if c.answer.Access != 0 {
					answer.Access = c.answer.Access
				}
				if c.answer.Handle != 0 {
					answer.Handle = 0
				}
				if c.fd == nil {
					return nil
				}
				fds = []int{c.fd(t)}
				if c.twice {
					fds = append(fds, c.fd(t))
				}
				return fds
			}
			d := m.Domain("maker")
			object, size := "frames", 4096
			if c.large {
				object, size = "large", 2<<20
			}
			mem, err := d.Make(t.Context(), object, size)
			if c.good {
				if err != nil {
					t.Fatal(err)
				}
				mem.Close()
			} else if e := wantCode(t, err, gate.Internal); e.Denied() {
				t.Errorf("%+v", e)
			}
			// Once this is answered the monitor has closed what it sent.
			settle(t, d)
			if n := held(t, file); n != 0 {
				t.Errorf("%d of the descriptors that came are still open", n)
			}
		})
	}
}

// Who does not wait for the answer is not left with what it grants.
func TestMakeIsGivenUp(t *testing.T) {
	m := memoryMonitor(t)
	ctx, cancel := context.WithCancel(t.Context())
	dropped := make(chan struct{})
	m.Tamper = func(request, answer *abi.Control, fds []int) []int {
		switch request.Op {
		case abi.OpMake:
			cancel()
		case abi.OpDrop:
			close(dropped)
		}
		return fds
	}
	// The monitor answers while the caller goes: whichever is first, nothing stays.
	mem, err := m.Domain("maker").Make(ctx, "frames", 10)
	if err == nil {
		mem.Close()
	} else {
		wantCode(t, err, gate.Canceled)
	}
	<-dropped
}

func TestMemoryWithoutMonitor(t *testing.T) {
	m := memoryMonitor(t)
	maker := m.Domain("maker")
	mem, err := maker.Make(t.Context(), "frames", 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := mem.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	m.Kill()
	_, err = maker.Make(t.Context(), "frames", 10)
	wantCode(t, err, gate.Unavailable)
	b[0] = 1
	if err := mem.Close(); err != nil {
		t.Error(err)
	}
}
