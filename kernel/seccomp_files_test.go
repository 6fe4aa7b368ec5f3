package kernel

import (
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
)

// TestNoTruncation: what empties a file without opening it for writing is
// refused, and all else is judged as before.
func TestNoTruncation(t *testing.T) {
	before, err := CompileSeccomp(HostCalls)
	if err != nil {
		t.Fatal(err)
	}
	after, err := CompileSeccomp(noTruncation(HostCalls))
	if err != nil {
		t.Fatal(err)
	}
	const modes = unix.O_ACCMODE
	checked, refused := 0, 0
	for nr := uint32(0); nr < 600; nr++ {
		for _, flags := range []uint64{0, unix.O_CREAT, unix.O_TRUNC, unix.O_TRUNC | unix.O_CREAT, unix.O_TMPFILE, unix.O_TRUNC | 1<<32} {
			for mode := uint64(0); mode <= modes; mode++ {
				for _, perm := range []uint64{0, 0o644, unix.S_ISUID | 0o755} {
					f := flags | mode
					args := []uint64{0, 0, f, perm, 0, 0}
					index, opens := openFlags[uintptr(nr)]
					if opens {
						args = []uint64{0, 0, 0, 0, 0, 0}
						args[index], args[index+1] = f, perm
					}
					want := judge(t, before, seccompArch, nr, args...)
					empties := opens && f&unix.O_TRUNC != 0 && mode != unix.O_WRONLY && mode != unix.O_RDWR
					if nr == unix.SYS_TRUNCATE || empties {
						want = seccompEPERM
						refused++
					}
					if got := judge(t, after, seccompArch, nr, args...); got != want {
						t.Fatalf("call %d%#x: %#x, want %#x", nr, args, got, want)
					}
					checked++
				}
			}
		}
	}
	t.Logf("%d instructions instead of %d; %d of %d cases refused", len(after), len(before), refused, checked)
}

// TestReadsOnly: which domains have less of truncation, that Landlock's right
// to it is granted to no others, and that writing to /tmp is as ever.
func TestReadsOnly(t *testing.T) {
	read, write := Bind{Path: "/srv", Access: image.Read}, Bind{Path: "/var", Access: image.Read | image.Write}
	for name, c := range map[string]struct {
		s    Sandbox
		want uint64
	}{
		"reads":             {Sandbox{Host: true, Binds: []Bind{read}}, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		"writes":            {Sandbox{Host: true, Binds: []Bind{read, write}}, 0},
		"a root of its own": {Sandbox{Binds: []Bind{read}}, 0},
		"without the list":  {Sandbox{Host: true, Binds: []Bind{read}, Without: WithSeccomp}, 0},
	} {
		if got := c.s.readRights(); got != c.want {
			t.Errorf("%s: %#x, want %#x", name, got, c.want)
		}
	}
	needHost(t)
	if out, _ := run(t, shell(nil, "cd /tmp && echo text > x && : > x && wc -c < x")); out != "0" {
		t.Errorf("a shell empties its own file: %q", out)
	}
}
