package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"ward/image"
)

// An ordinary user starts a system in a user namespace in which that user is 0
// and there is no other (newuidmap(1), which maps more, is a setuid program that
// not every host has). Each domain gets a user namespace of its own in there: it
// has a user ID like other domains, but outside all are one user. What keeps
// them apart are the namespaces, the root, Landlock and the system-call filter
// alone (docs/unprivileged.md).

// singleUser reports whether this process's user namespace maps one user.
var singleUser = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	var inside, outside, count uint64
	n, _ := fmt.Sscan(string(b), &inside, &outside, &count)
	return n == 3 && count == 1 && strings.Count(string(b), "\n") == 1
})

// SingleUser reports whether this process is the root of a user namespace of an
// ordinary user, who is its only one, and returns that user's ID outside.
func SingleUser() (uid uint32, ok bool) {
	if !singleUser() {
		return 0, false
	}
	var inside uint64
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscan(string(b), &inside, &uid)
	return uid, err == nil
}

// openSelf opens the child's directory in the host's /proc, which it cannot
// reach later.
func (b *builder) openSelf() ref {
	return b.program.do("open /proc/self", unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// userNamespace gives the child a user namespace in which it has its own user
// ID, and nobody else has one. It comes after the mounts: these, and the other
// namespaces, belong to the namespace around, in which the domain can do
// nothing, whatever it becomes in its own.
func (b *builder) userNamespace(self ref) error {
	p := b.program
	p.do("unshare user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	for _, m := range []struct {
		file string
		id   uint32
	}{{"uid_map", b.UID}, {"gid_map", b.GID}} {
		line := fmt.Sprintf("%d 0 1\n", m.id)
		f := p.doAt("open "+m.file, self, m.file)
		p.do("write "+m.file, unix.SYS_WRITE, f, line, len(line))
	}
	// After it, so that the limit is the domain's own: one that was set before
	// would be that of all domains together (user_namespaces(7), kernel/ucount.c).
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &own); err != nil {
		return fmt.Errorf("getrlimit NPROC: %w", err)
	}
	n := min(b.processes(), own.Max)
	p.do("rlimit NPROC", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, unsafe.Pointer(&unix.Rlimit{Cur: n, Max: n}), 0)
	return nil
}

// doAt opens a file for writing in the directory that an earlier step opened.
func (p *program) doAt(what string, dir ref, name string) ref {
	return p.do(what, unix.SYS_OPENAT, dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
}

// processes is the domain's limit of processes and threads.
func (b *builder) processes() uint64 {
	if b.Limits.Processes == 0 {
		return defaultProcesses
	}
	return uint64(b.Limits.Processes)
}

// borrowDevice mounts a device of the host: an ordinary user cannot make one.
func (r *rootTree) borrowDevice(name string) error {
	src, err := unix.Openat2(unix.AT_FDCWD, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(src)
	access := image.Read | image.Write
	tree, err := cloneMount(src, Bind{Path: name, Access: access}, 0, 0, unix.S_IFCHR, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.mounts = append(r.mounts, mountPoint{fd: r.own(tree), path: name, access: access})
	return r.place(name, false)
}
