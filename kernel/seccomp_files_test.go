package kernel

import (
	"errors"
	"os"
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

// TestUncheckedOpens: the kernel can answer opens, and nothing else, without
// running the list: it does where no argument is looked at.
func TestUncheckedOpens(t *testing.T) {
	before, err := CompileSeccomp(noTruncation(HostCalls))
	if err != nil {
		t.Fatal(err)
	}
	after, err := CompileSeccomp(uncheckedOpens(noTruncation(HostCalls)))
	if err != nil {
		t.Fatal(err)
	}
	freed := 0
	for nr := uint32(0); nr < 600; nr++ {
		for _, args := range [][]uint64{{0, 0, 0, 0, 0, 0}, {0, unix.O_TRUNC, unix.S_ISUID, 0, 0, 0}, {0, 0, unix.O_TRUNC, 0, 0, 0}, {0, 0, unix.O_CREAT, unix.S_ISUID | 0o755, 0, 0}} {
			want := judge(t, before, seccompArch, nr, args...)
			if _, opens := openFlags[uintptr(nr)]; opens {
				if want != seccompAllow {
					freed++
				}
				want = seccompAllow
			}
			if got := judge(t, after, seccompArch, nr, args...); got != want {
				t.Errorf("call %d%#x: %#x, want %#x", nr, args, got, want)
			}
		}
	}
	if freed == 0 {
		t.Error("the list refused no open before")
	}
}

// TestOpensUnchecked: in which domains opens are not looked at. (What
// then stops O_TRUNC for reading: package redteam.)
func TestOpensUnchecked(t *testing.T) {
	needHost(t)
	const uid = 0x7ffe0001
	theirs := func(uid, gid int, mode os.FileMode) func(*testing.T, *Sandbox, string) {
		return func(t *testing.T, s *Sandbox, dir string) {
			if err := errors.Join(os.Chown(dir, uid, gid), os.Chmod(dir, mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		with func(*testing.T, *Sandbox, string)
		want bool
	}{
		"root's":            {theirs(0, 0, 0o755), true},
		"another user's":    {theirs(uid+1, uid+1, 0o755), true},
		"its own":           {theirs(uid, 0, 0o755), false},
		"its group's":       {theirs(0, uid, 0o755), false},
		"anybody's":         {theirs(0, 0, 0o777), false},
		"anybody's, sticky": {theirs(0, 0, 0o777|os.ModeSticky), false},
		"mapped to root": {func(t *testing.T, s *Sandbox, dir string) {
			theirs(uid+1, uid+1, 0o755)(t, s, dir) // the directory is not, what is in it may be
			s.Binds[0].AsRoot = true
		}, false},
		"to be written":                {func(_ *testing.T, s *Sandbox, _ string) { s.Binds[0].Access |= image.Write }, false},
		"without an identity":          {func(_ *testing.T, s *Sandbox, _ string) { s.Without = WithIdentity }, false},
		"without a root":               {func(_ *testing.T, s *Sandbox, _ string) { s.Without = WithRoot }, false},
		"nothing of the host's beside": {func(_ *testing.T, s *Sandbox, _ string) { s.Host = false }, false},
		// Who may be sent descriptors, and who not.
		"with gates": {func(_ *testing.T, s *Sandbox, _ string) { s.Network.Messages = false }, false},
		"listening at a path": {func(_ *testing.T, s *Sandbox, _ string) {
			s.Network.Sockets = []Socket{{Name: "tcp"}, {Name: "unix", Inode: "/run/opens"}}
		}, false},
		"listening at an address": {func(_ *testing.T, s *Sandbox, _ string) { s.Network.Sockets = []Socket{{Name: "tcp"}} }, true},
		"binding":                 {func(_ *testing.T, s *Sandbox, _ string) { s.Network.Bind = []NetRule{{}} }, true},
		"that notifies":           {func(_ *testing.T, s *Sandbox, _ string) { s.Network.Notify, s.Network.Connect = true, []NetRule{{}} }, true},
		"that notifies and binds": {func(_ *testing.T, s *Sandbox, _ string) { s.Network.Notify, s.Network.Bind = true, []NetRule{{}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &Sandbox{Name: "opens", Host: true, UID: uid, GID: uid, Program: "/bin/true", Binds: []Bind{{Path: dir, Access: image.Read}}, Network: Network{Messages: true}}
			c.with(t, s, dir)
			b := &builder{Sandbox: s}
			var root *rootTree
			if b.has(WithRoot) {
				var err error
				if root, err = newRootTree(s); err != nil {
					if s.Binds[0].AsRoot {
						t.Skip("needs ID-mapped mounts of the file system of the tests:", err)
					}
					t.Fatal(err)
				}
				defer root.close()
			}
			if got, err := b.opensUnchecked(root); err != nil || got != c.want {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
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
