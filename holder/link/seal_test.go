package link

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSeal: a sealed image cannot be changed, by whoever holds it, and by
// whoever opens it anew; with any seal missing it is refused.
func TestSeal(t *testing.T) {
	f, err := Seal([]byte("image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Sealed(f); err != nil {
		t.Error(err)
	}
	change := func(f *os.File) (write, cut error) {
		again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
		if err != nil {
			return err, err
		}
		defer again.Close()
		_, write = again.WriteAt([]byte("x"), 0)
		return write, again.Truncate(1)
	}
	if write, cut := change(f); !errors.Is(write, syscall.EPERM) || !errors.Is(cut, syscall.EPERM) {
		t.Errorf("changed after the seal: %v, %v", write, cut)
	}
	for _, missing := range []int{unix.F_SEAL_WRITE, unix.F_SEAL_SHRINK, unix.F_SEAL_GROW, unix.F_SEAL_SEAL} {
		m := memory(t)
		if _, err := unix.FcntlInt(m.Fd(), unix.F_ADD_SEALS, seals&^missing); err != nil {
			t.Fatal(err)
		}
		if Sealed(m) == nil {
			t.Errorf("accepted without seal %#x", missing)
		}
		if _, err := Map(m); err == nil {
			t.Errorf("mapped without seal %#x", missing)
		}
	}
	if write, cut := change(memory(t)); write != nil || cut != nil {
		t.Errorf("the control, a memfd without seals, could not be changed: %v, %v", write, cut)
	}
}

// memory is a memfd with something in it and without seals.
func memory(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	m := os.NewFile(uintptr(fd), "t")
	t.Cleanup(func() { m.Close() })
	if _, err := m.Write([]byte("image")); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMapNothing(t *testing.T) {
	f, err := Seal(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Map(f); err == nil {
		t.Error("an empty image is mapped")
	}
}
