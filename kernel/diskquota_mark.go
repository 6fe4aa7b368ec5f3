package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Limits of what is looked at when a directory is given to a project for the
// first time. The creator does nothing else meanwhile.
const (
	maxDiskFiles = 100_000 // files and directories
	maxDiskDepth = 64
)

// A diskBinder gives what a domain may write to its project.
type diskBinder struct {
	DiskQuota
	fs   uint64 // number of the file system of what was bound first
	path string // … and what that was
}

// bind makes what a detached mount shows, a directory or a regular file, of the
// project, with all that is below, and sets the limit; or, without a limit,
// lifts one that an earlier start has set. It is done once: what is marked is
// not looked at again, because nothing that is of another project can come there.
//
// The mount has no other one below it, and is not ID-mapped yet: with a map
// files of users that it leaves out could not be changed.
func (b *diskBinder) bind(mount int, path string, dir bool) error {
	if b.Bytes == 0 && enforced(mount) != nil {
		return nil // there is no limit to lift
	}
	fd, err := readable(mount, dir)
	if err != nil {
		return fmt.Errorf("quota of disk: %w", err)
	}
	defer unix.Close(fd)
	if b.Bytes == 0 {
		err = b.lift(fd)
	} else {
		err = b.bound(fd, path)
	}
	if err != nil {
		return fmt.Errorf("quota of disk: %w", err)
	}
	return nil
}

// lift takes back the limit of a domain that has none any more, and refuses
// what counts for another domain of Ward: what this one writes would, too.
func (b *diskBinder) lift(fd int) error {
	a, err := attributesOf(fd)
	switch {
	case err != nil || a.project == 0: // an error: it is no file of a disk
		return nil
	case a.project == b.Project:
		return b.setLimit(fd)
	case ofWard(a.project):
		return b.taken(a.project, readMark(fd))
	}
	return nil
}

// taken says that a directory is somebody else's, and what to do.
func (b *diskBinder) taken(project uint32, owner string) error {
	whose := fmt.Sprintf("project %d", project)
	if owner != "" {
		whose = "the domain " + owner
	}
	return fmt.Errorf("it counts for %s: leave it to that, or free it by the three commands of docs/quotas.md", whose)
}

func (b *diskBinder) bound(fd int, path string) error {
	if err := enforced(fd); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if b.path == "" {
		b.fs, b.path = st.Dev, path
	} else if b.fs != st.Dev {
		return fmt.Errorf("%w: it is on another file system than %s, and a limit holds within one: give the domain directories of one file system", ErrNoDiskQuota, b.path)
	}
	a, err := attributesOf(fd)
	if err != nil {
		return fmt.Errorf("project of it: %w", err)
	}
	mark := readMark(fd)
	if mark != "" && mark != b.Owner || a.project != 0 && a.project != b.Project {
		return b.taken(a.project, mark)
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if mark == "" || !b.has(a, dir) {
		w := diskWalk{project: b.Project, owner: b.Owner, top: path, fs: st.Dev, left: maxDiskFiles, links: map[uint64]links{}}
		if err := w.look(fd, &st, path, 0); err != nil {
			return err
		}
		if err := w.unlinked(); err != nil {
			return err
		}
		w.set, w.left = true, maxDiskFiles
		if err := w.look(fd, &st, path, 0); err != nil {
			return err
		}
		if err := unix.Fsetxattr(fd, diskMark, []byte(b.Owner), 0); err != nil {
			return fmt.Errorf("mark it: %w", err)
		}
	}
	return b.setLimit(fd)
}

func (b *diskBinder) has(a attributes, dir bool) bool {
	return a.project == b.Project && (!dir || a.flags&inherits != 0)
}

// readMark returns whom a directory is marked for; "": nobody.
func readMark(fd int) string {
	var b [256]byte
	n, err := unix.Fgetxattr(fd, diskMark, b[:])
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// A diskWalk looks at a tree twice: the first time it changes nothing, and
// finds what is in the way.
type diskWalk struct {
	project uint32
	owner   string
	top     string // its path on the host
	fs      uint64
	set     bool
	left    int // files that it may still look at
	links   map[uint64]links
}

// links are the names of a file, by its inode, that were not seen yet.
type links struct {
	left uint64
	path string
}

// look looks at a file or a directory and all that is below.
func (w *diskWalk) look(fd int, st *unix.Stat_t, path string, depth int) error {
	if w.left--; w.left < 0 {
		return fmt.Errorf("it has more than %d files, too many to give them to its project while others wait: do it before the start, with `chattr -R -p %d %[3]s`, `find %[3]s -type d -exec chattr +P {} +` and `setfattr -n %[4]s -v %[5]s %[3]s`",
			maxDiskFiles, w.project, w.top, diskMark, w.owner)
	}
	if depth > maxDiskDepth {
		return fmt.Errorf("%s is more than %d directories deep", path, maxDiskDepth)
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if err := w.file(fd, st, path, dir); err != nil || !dir {
		return err
	}
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // with a position of its own
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	list := os.NewFile(uintptr(again), path)
	defer list.Close()
	for {
		names, err := list.Readdirnames(256)
		for _, name := range names {
			if err := w.entry(fd, name, filepath.Join(path, name), depth+1); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// entry looks at what a name in a directory stands for. What is neither file
// nor directory holds nothing.
func (w *diskWalk) entry(dir int, name, path string, depth int) error {
	var st, now unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil // meanwhile
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return nil
	}
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if err == unix.ENOENT {
		return nil
	}
	if err == nil {
		defer unix.Close(fd)
		err = unix.Fstat(fd, &now)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case now.Mode&unix.S_IFMT != kind || now.Dev != w.fs:
		return fmt.Errorf("%s became another file while it was looked at", path)
	}
	return w.look(fd, &now, path, depth)
}

// file checks a file or directory, or gives it to the project.
func (w *diskWalk) file(fd int, st *unix.Stat_t, path string, dir bool) error {
	a, err := attributesOf(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !w.set {
		if a.project != 0 && a.project != w.project {
			return fmt.Errorf("%s in it counts for project %d: leave it to that, or free it with `chattr -R -p 0`", path, a.project)
		}
		if n := uint64(st.Nlink); !dir && n > 1 {
			l, seen := w.links[st.Ino]
			if !seen {
				l = links{n, path}
			}
			l.left--
			w.links[st.Ino] = l
		}
		return nil
	}
	flags := a.flags
	if dir {
		flags |= inherits
	}
	if a.project == w.project && a.flags == flags {
		return nil
	}
	a.project, a.flags = w.project, flags
	if err := a.set(fd); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w: its file system has no projects (%w): `tune2fs -O project -Q prjquota` while it is not mounted", ErrNoDiskQuota, err)
		}
		return fmt.Errorf("give %s to project %d: %w", path, w.project, err)
	}
	return nil
}

// unlinked reports a file that has a name elsewhere: who writes it there would
// use up the quota.
func (w *diskWalk) unlinked() error {
	var paths []string
	for _, l := range w.links {
		if l.left > 0 {
			paths = append(paths, l.path)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	more := ""
	if n := len(paths) - 1; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
	}
	return fmt.Errorf("%s has another name outside (a hard link)%s: what is written there would count as well; replace it with a copy", paths[0], more)
}
