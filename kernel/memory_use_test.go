package kernel

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Memory is in use while anybody has it open, or mapped in any way, or while a
// descriptor of it is on its way; not when all of that is over, whatever is left
// of it.
func TestMemoryInUse(t *testing.T) {
	needsRootForMemory(t)
	for _, sealed := range []bool{false, true} {
		f, err := MakeMemory("frames", 4096, false)
		f = mustMemory(t, f, err)
		dup, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3) // as the holder's
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(dup)
		if sealed {
			if err := SealMemory(f); err != nil {
				t.Fatal(err)
			}
		}
		is := func(what string, want bool) {
			t.Helper()
			if used, err := MemoryInUse(f); err != nil || used != want {
				t.Errorf("sealed %v, %s: in use %v, %v; want %v", sealed, what, used, err, want)
			}
		}
		open := func(write bool) *os.File {
			t.Helper()
			r, err := OpenMemory(f, write)
			return mustMemory(t, r, err)
		}
		is("nobody has it", false)
		is("asked before", false)
		for name, write := range map[string]bool{"for reading": false, "for both": true} {
			d := open(write)
			is("open "+name, true)
			is("open "+name+", asked before", true)
			d.Close()
			for kind, flags := range map[string]int{"shared": unix.MAP_SHARED, "private": unix.MAP_PRIVATE} {
				prot := unix.PROT_READ
				if write && !sealed || flags == unix.MAP_PRIVATE {
					prot |= unix.PROT_WRITE
				}
				d := open(write)
				b, err := unix.Mmap(int(d.Fd()), 0, 4096, prot, flags)
				if err != nil {
					t.Fatalf("sealed %v, %s, %s: %v", sealed, kind, name, err)
				}
				if prot&unix.PROT_WRITE != 0 {
					b[0] = 1
				}
				d.Close()
				is("mapped "+kind+" and closed, "+name, true)
				if err := unix.Munmap(b); err != nil {
					t.Fatal(err)
				}
				is("unmapped and closed, "+name, false)
			}

			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			d = open(write)
			if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(d.Fd())), nil, 0); err != nil {
				t.Fatal(err)
			}
			d.Close()
			is("on its way, "+name, true)
			unix.Close(pair[0])
			is("on its way to who still reads, "+name, true)
			unix.Close(pair[1])
			is("lost on its way, "+name, false)
		}
		// What it cannot tell: who holds only its name.
		path, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		is("named", false)
		unix.Close(path)
	}
}

func BenchmarkMemoryInUse(b *testing.B) {
	f, err := MakeMemory("frames", 4096, false)
	if err != nil {
		b.Skip("needs root: ", err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := MemoryInUse(f); err != nil {
			b.Fatal(err)
		}
	}
}
