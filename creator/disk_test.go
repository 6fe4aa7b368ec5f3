package creator

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/internal/disktest"
	"ward/kernel"
)

const mib = 1 << 20

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place makes a directory on a disk, for domain i of a world.
func place(t *testing.T, disk, name string, i int) string {
	t.Helper()
	dir := filepath.Join(disk, name)
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chown(dir, int(testUIDs)+i, int(testUIDs)+i))
	return dir
}

// writer is a domain that may write a directory, of which it may fill so much.
func writer(name, dir string, disk uint64, args ...string) image.Domain {
	return image.Domain{Name: name, Program: hostile, Args: args, Quota: image.Quota{Disk: disk}, Files: []image.File{{Path: dir, Access: image.Read | image.Write}}}
}

// use is what a domain of the image of a world holds.
func use(t *testing.T, dir, domain string) kernel.DiskUse {
	t.Helper()
	u, err := kernel.DiskUseOf(dir, image.ProjectOf("test", domain))
	must(t, err)
	return u
}

// hits returns how often it was told that a domain ran into its quota of disk.
// Whatever else was told is wrong.
func (w *world) hits(id abi.DomainID) (n uint64) {
	w.t.Helper()
	for {
		select {
		case h := <-w.client.Hits():
			if h.Domain != id || h.Limit != LimitDisk || h.Count == 0 {
				w.t.Errorf("told: %+v", h)
			}
			n += h.Count
		default:
			return n
		}
	}
}

// after reads how far an attack came: "refused: after N …".
func after(t *testing.T, out string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(out, "refused: after %d", &n); err != nil || !strings.HasSuffix(out, "disk quota exceeded") && !strings.HasSuffix(out, "no space left on device") {
		t.Fatalf("it was to be refused by the quota: %q", out)
	}
	return n
}

// The positive control of each is the same without the quota, on the same file
// system; then a neighbour that has one of its own goes on. Files of other users
// (as: root) count the same.
func TestAttackDisk(t *testing.T) {
	for _, kind := range []disktest.Kind{disktest.Ext4, disktest.XFS} {
		t.Run(kind.Name, func(t *testing.T) { attackDisk(t, disktest.Mount(t, kind)) })
	}
}

func attackDisk(t *testing.T, disk string) {
	for i, c := range []struct {
		name   string
		attack string
		amount int
		asRoot bool
		least  int // of what it gets
		most   int
	}{
		{"bytes", "pile", 8 * mib, false, mib, 2 * mib},
		{"bytes of root's files", "pile", 8 * mib, true, mib, 2 * mib},
		{"files", "litter", 4000, false, 100, 2*mib/4096 + 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := place(t, disk, fmt.Sprint("case", i), 0)
			dirs := []string{place(t, top, "attacker", 0), place(t, top, "control", 1), place(t, top, "neighbour", 2)}
			attack := func(dir string) []string { return []string{c.attack, dir, strconv.Itoa(c.amount)} }
			name := fmt.Sprint("attacker", i)
			attacker, control := writer(name, dirs[0], 2*mib, attack(dirs[0])...), writer("control", dirs[1], 0, attack(dirs[1])...)
			if c.asRoot {
				for j, d := range []*image.Domain{&attacker, &control} {
					d.Files[0].AsRoot = true
					must(t, os.Chown(dirs[j], 0, 0))
				}
			}
			w := newWorld(t, 0, attacker, control, writer(fmt.Sprint("neighbour", i), dirs[2], 4*mib, "pile", dirs[2], strconv.Itoa(3*mib)))
			if out, status := w.result(1); out != "done "+strconv.Itoa(c.amount) {
				t.Fatalf("control: %q, %v", out, status)
			}
			if w.hits(1) > 0 {
				t.Error("control: something was told")
			}
			must(t, os.RemoveAll(dirs[1]))
			out, _ := w.result(0)
			if n := after(t, out); n < c.least || n > c.most {
				t.Errorf("it got %d, with a quota of %d", n, c.most)
			}
			if w.hits(0) == 0 {
				t.Error("nothing was told")
			}
			u := use(t, dirs[0], name)
			if u.LimitBytes != 2*mib || u.Bytes > u.LimitBytes || u.Files > u.LimitFiles || u.Files < 2 {
				t.Errorf("it holds %+v", u)
			}
			if out, _ := w.result(2); out != "done "+strconv.Itoa(3*mib) {
				t.Errorf("neighbour: %q", out)
			}
			if w.hits(2) > 0 {
				t.Error("neighbour: something was told")
			}
		})
	}
}

// Who owns a directory may give it to another project, and let what comes into
// it be of none: of domains seccomp refuses it. The control is without seccomp.
func TestAttackDiskProject(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	for i, escape := range [][]string{{"project", "DIR", "0"}, {"project", "DIR", "77"}, {"disinherit", "DIR"}} {
		for _, host := range []bool{false, true} {
			t.Run(fmt.Sprint(escape, host), func(t *testing.T) {
				run := func(t *testing.T, name string, without kernel.Defence) (string, string) {
					dir := place(t, disk, fmt.Sprint(name, i, host), 0)
					args := append([]string{"then", strconv.Itoa(1 + len(escape))}, escape...)
					args[3] = dir
					d := writer(fmt.Sprint(name, i, host), dir, mib, append(args, "pile", dir, strconv.Itoa(3*mib))...)
					d.Host = host
					out, _ := newWorld(t, without, d).result(0)
					return out, dir
				}
				out, dir := run(t, "control", seccomp)
				if out != "done "+strconv.Itoa(3*mib) {
					t.Fatalf("control: the quota holds without seccomp, too: %q", out)
				}
				must(t, os.RemoveAll(dir))
				out, dir = run(t, "defended", 0)
				if !strings.HasPrefix(out, "refused: "+escape[0]+": operation not permitted") {
					t.Errorf("%q", out)
				}
				must(t, os.RemoveAll(dir))
			})
		}
	}
}

// What a domain runs into again and again is told again and again, as long as it
// does, and not as often as it does.
func TestDiskToldAgain(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	w := newWorld(t, 0, writer("insisting", dir, mib, "insist", dir))
	l, err := w.start(0)
	must(t, err)
	l.ready(t)
	for i := range 3 {
		// The first is told at once, the others have what came meanwhile.
		if h := <-w.client.Hits(); h.Domain != 0 || h.Limit != LimitDisk || i > 0 && h.Count < 2 {
			t.Errorf("%+v", h)
		}
	}
}

// A creator that follows another one is told what the domains run into that it takes over.
func TestDiskAdopted(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	d := writer("insisting", dir, mib, "insist", dir)
	before, after := newWorld(t, 0, d), newWorld(t, 0, d)
	l, err := before.start(0)
	must(t, err)
	l.ready(t)
	after.takesDir("insisting")
	must(t, after.client.Adopt(context.Background(), 0, l.PID, l.Pidfd))
	if h := <-after.client.Hits(); h.Domain != 0 || h.Limit != LimitDisk {
		t.Errorf("%+v", h)
	}
}

// What came to its end without a mark, as when the creator died, is looked at again.
func TestDiskWithoutMark(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	start := func() {
		t.Helper()
		w := newWorld(t, 0, writer("again", dir, 4*mib, "show", dir))
		if out, _ := w.result(0); !strings.HasPrefix(out, "done") {
			t.Fatal(out)
		}
		w.end()
	}
	start()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, make([]byte, mib), 0o600))
	giveTo(t, file, 0)
	start()
	if u := use(t, dir, "again"); u.Files != 1 || u.Bytes > mib/2 {
		t.Fatalf("control: with its mark it is looked at: %+v", u)
	}
	must(t, unix.Removexattr(dir, "trusted.ward.disk"))
	start()
	if u := use(t, dir, "again"); u.Files != 2 || u.Bytes < mib {
		t.Errorf("without its mark: %+v", u)
	}
}

// giveTo gives a file or a directory to a project, as the host's root.
func giveTo(t *testing.T, path string, project int) {
	t.Helper()
	if out, err := exec.Command(hostile, "project", path, strconv.Itoa(project)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// What was in the directory before counts, too, down the whole tree; nothing
// outside of it does, whatever links say.
func TestDiskExisting(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	outside := filepath.Join(disk, "outside")
	must(t, os.WriteFile(outside, make([]byte, mib), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/b/file"), make([]byte, mib), 0o600))
	must(t, os.Link(filepath.Join(dir, "a/b/file"), filepath.Join(dir, "a/again")))
	must(t, os.Symlink(outside, filepath.Join(dir, "a/link")))
	must(t, os.Symlink(disk, filepath.Join(dir, "up")))
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	w := newWorld(t, 0, writer("owner", dir, 4*mib, "pile", dir, strconv.Itoa(8*mib)))
	out, _ := w.result(0)
	if n := after(t, out); n < 2*mib || n > 3*mib {
		t.Errorf("it wrote %d more bytes", n)
	}
	if u := use(t, dir, "owner"); u.LimitBytes != 4*mib || u.Bytes > 4*mib {
		t.Errorf("it holds %+v", u)
	}
	for _, e := range glob(t, dir, "pile*") {
		must(t, os.Remove(e))
	}
	// The directory, a, b, and the file by its two names.
	if u := use(t, dir, "owner"); u.Files != 4 || u.Bytes < mib || u.Bytes > mib+64<<10 {
		t.Errorf("with what there was it holds %+v", u)
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	return found
}

// A file that is granted by itself counts as well.
func TestDiskOfFile(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	file, free := filepath.Join(place(t, disk, "dir", 0), "file"), filepath.Join(place(t, disk, "free", 1), "file")
	for i, path := range []string{file, free} {
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chown(path, int(testUIDs)+i, int(testUIDs)+i))
	}
	w := newWorld(t, 0, writer("bounded", file, mib, "bigfile", file, strconv.Itoa(3*mib)), writer("free", free, 0, "bigfile", free, strconv.Itoa(3*mib)))
	if out, _ := w.result(1); out != "done "+strconv.Itoa(3*mib) {
		t.Fatalf("control: %q", out)
	}
	if out, _ := w.result(0); after(t, out) > mib {
		t.Errorf("%q", out)
	}
	if u := use(t, file, "bounded"); u.Files != 1 || u.Bytes < mib/2 || u.Bytes > mib {
		t.Errorf("it holds %+v", u)
	}
}

// The limit stays when the domain ends, for the next start, which may have
// another one, or none.
func TestDiskChange(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	for _, c := range []struct {
		quota uint64
		wants int
	}{{2 * mib, 0}, {2 * mib, 0}, {6 * mib, 5 * mib}, {mib, 0}, {0, 12 * mib}, {2 * mib, 0}} {
		amount := 12 * mib
		if c.wants > 0 {
			amount = c.wants
		}
		w := newWorld(t, 0, writer("changing", dir, c.quota, "pile", dir, strconv.Itoa(amount)))
		out, _ := w.result(0)
		w.end()
		if c.wants > 0 && out != "done "+strconv.Itoa(c.wants) {
			t.Errorf("with %d: %q", c.quota, out)
		}
		u := use(t, dir, "changing")
		if u.LimitBytes != c.quota {
			t.Errorf("with %d: %+v", c.quota, u)
		}
		if c.wants == 0 {
			if n := after(t, out); uint64(n) > c.quota {
				t.Errorf("with %d: %q", c.quota, out)
			}
		}
		for _, e := range glob(t, dir, "pile*") {
			must(t, os.Remove(e))
		}
	}
}

// A directory that belongs to somebody else is left alone, and the domain does
// not start; nothing of the directory is changed.
func TestDiskTaken(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	refused := func(t *testing.T, want string, d ...image.Domain) {
		t.Helper()
		for i := range d {
			w := newWorld(t, 0, d...)
			if i < len(d)-1 { // the first ones hold what the last one wants
				if out, _ := w.result(i); !strings.HasPrefix(out, "done") {
					t.Fatalf("control: %s: %q", d[i].Name, out)
				}
				continue
			}
			_, err := w.start(i)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "start "+d[i].Name) {
				t.Errorf("%s: %v; wants %q", d[i].Name, err, want)
			}
		}
	}
	t.Run("another domain", func(t *testing.T) {
		dir := place(t, disk, "one", 0)
		must(t, os.Mkdir(filepath.Join(dir, "below"), 0o777))
		first := writer("first", dir, mib, "show", dir)
		refused(t, "it counts for the domain test/first", first, writer("second", dir, mib, "show", dir))
		refused(t, "it counts for the domain test/first", first, writer("third", dir, 0, "show", dir))
		refused(t, "it counts for project", first, writer("fourth", dir+"/below", mib, "show", dir))
		refused(t, "it counts for project", first, writer("fifth", dir+"/below", 0, "show", dir))
	})
	t.Run("another project", func(t *testing.T) {
		dir := place(t, disk, "two", 0)
		giveTo(t, dir, 77)
		refused(t, "it counts for project 77", writer("a", dir, mib, "show", dir))
		giveTo(t, dir, 0)
		file := filepath.Join(dir, "file")
		must(t, os.WriteFile(file, nil, 0o600))
		giveTo(t, file, 78)
		refused(t, file+" in it counts for project 78", writer("b", dir, mib, "show", dir))
		if u := use(t, dir, "b"); u.Files != 0 {
			t.Errorf("what was refused was changed: %+v", u)
		}
		giveTo(t, file, 0)
		if out, _ := newWorld(t, 0, writer("c", dir, mib, "show", dir)).result(0); !strings.HasPrefix(out, "done") {
			t.Errorf("control: %q", out)
		}
	})
	t.Run("a hard link", func(t *testing.T) {
		dir, other := place(t, disk, "three", 0), place(t, disk, "four", 1)
		file := filepath.Join(other, "file")
		must(t, os.WriteFile(file, nil, 0o600))
		must(t, os.Link(file, filepath.Join(dir, "link")))
		refused(t, dir+"/link has another name outside", writer("d", dir, mib, "show", dir))
		must(t, os.Remove(file))
		if out, _ := newWorld(t, 0, writer("e", dir, mib, "show", dir)).result(0); out != "done  link" {
			t.Errorf("control: %q", out)
		}
	})
	t.Run("two file systems", func(t *testing.T) {
		second := disktest.Mount(t, disktest.Ext4)
		dir, other := place(t, disk, "five", 0), place(t, second, "six", 0)
		d := writer("f", dir, mib, "show", dir)
		d.Files = append(d.Files, image.File{Path: other, Access: image.Read | image.Write})
		refused(t, "it is on another file system than "+dir, d)
	})
}

// What is mounted below a directory would not count, so it is not shown.
func TestDiskMountBelow(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	below := place(t, dir, "below", 0)
	must(t, unix.Mount("test", below, "tmpfs", 0, "mode=777"))
	t.Cleanup(func() { must(t, unix.Unmount(below, unix.MNT_DETACH)) })
	must(t, os.WriteFile(filepath.Join(below, "mounted"), nil, 0o644))
	w := newWorld(t, 0, writer("bounded", dir, mib, "show", below), writer("filling", dir, mib, "pile", below, strconv.Itoa(3*mib)))
	if out, _ := w.result(0); out != "done" {
		t.Errorf("%q", out)
	}
	w.end()
	w = newWorld(t, 0, writer("bounded", dir, mib, "pile", below, strconv.Itoa(3*mib)))
	if out, _ := w.result(0); after(t, out) > mib {
		t.Errorf("%q", out)
	}
	w.end()
	free := place(t, disk, "free", 0)
	inner := place(t, free, "below", 0)
	must(t, unix.Mount("test", inner, "tmpfs", 0, "mode=777"))
	t.Cleanup(func() { must(t, unix.Unmount(inner, unix.MNT_DETACH)) })
	must(t, os.WriteFile(filepath.Join(inner, "mounted"), nil, 0o644))
	if out, _ := newWorld(t, 0, writer("free", free, 0, "show", inner)).result(0); out != "done  mounted" {
		t.Errorf("control: %q", out)
	}
}

// What a child writes lies where its parent may write, and counts as the parent's.
func TestAttackDiskChild(t *testing.T) {
	disk := disktest.Mount(t, disktest.Ext4)
	dir := place(t, disk, "dir", 0)
	must(t, os.Chmod(dir, 0o777))
	parent := writer("parent", dir, 2*mib, "idle")
	parent.Quota.Processes = 100
	parent.Children = image.Children{Number: 2, Depth: 1, Tree: 2}
	child := writer("child", dir, 0, "pile", dir, strconv.Itoa(8*mib))
	child.Template, child.Quota.Processes = true, 20
	w := newWorld(t, 0, parent, child)
	w.img.Spawns = []image.Spawn{{Parent: 0, Template: 1, Spawn: image.Verdict{Allow: true}, Adopt: image.Verdict{Policy: abi.NoPolicy}}}
	l, err := w.start(0)
	must(t, err)
	l.ready(t)
	k, err := w.spawn(Order{Child: image.FirstChild, Parent: 0, Template: 1})
	must(t, err)
	out, _ := w.finish(k)
	if n := after(t, out); n > 2*mib {
		t.Errorf("the child wrote %d", n)
	}
	if w.hits(0) == 0 {
		t.Error("nothing was told")
	}
	if u := use(t, dir, "parent"); u.Bytes < mib || u.Bytes > 2*mib {
		t.Errorf("the parent holds %+v", u)
	}
}

// A quota that nobody could enforce is refused, and says what to do; without it
// the domain starts.
func TestDiskRefused(t *testing.T) {
	needRoot(t)
	tmpfs := ownDir(t, 0)
	must(t, unix.Mount("test", tmpfs, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { must(t, unix.Unmount(tmpfs, unix.MNT_DETACH)) })
	try := func(t *testing.T, dir, want string) {
		t.Helper()
		w := newWorld(t, 0, writer("bounded", dir, mib, "show", dir), writer("free", dir, 0, "show", dir))
		_, err := w.start(0)
		if err == nil {
			t.Fatal("it started")
		}
		for _, s := range []string{"start bounded", dir, "quota of disk", want, "leave `disk` out"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v: no %q", err, s)
			}
		}
		if out, _ := w.result(1); !strings.HasPrefix(out, "done") {
			t.Errorf("control: %q", out)
		}
		if err := kernel.CheckDisk(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("before the start: %v", err)
		}
	}
	if err := kernel.CanBoundDisk(); err != nil {
		try(t, place(t, tmpfs, "dir", 0), "this kernel has no project quotas")
		return
	}
	t.Run("tmpfs", func(t *testing.T) { try(t, place(t, tmpfs, "dir", 0), "its file system (tmpfs) counts no projects") })
	for _, c := range []struct {
		kind disktest.Kind
		want string
	}{
		{disktest.Ext4Without, "its file system (ext4) counts no projects"},
		{disktest.Ext4Counting, "mount it with `prjquota`"},
		{disktest.XFSWithout, "its file system (XFS) counts no projects"},
		{disktest.XFSCounting, "mount it with `prjquota`"},
	} {
		t.Run(c.kind.Name, func(t *testing.T) { try(t, place(t, disktest.Mount(t, c.kind), "dir", 0), c.want) })
	}
}
