package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A start costs the same however many domains, mounts and processes there are.
// Two things would make it cost more:
//
//   - pivot_root looks at every thread of the machine, with the lock held that
//     each fork and exit waits for (chroot_fs_refs, fs/fs_struct.c). So a child
//     does not begin with a copy of the host's mounts, which it must then get rid
//     of: it begins with a copy of a namespace of one empty mount, which is made
//     once, mounts its root over that, and enters it by chroot. There is nothing
//     below that a chroot could be left for.
//   - a child gets a copy of all descriptors of its parent, and closes them. So it
//     shares the parent's table until its first step, which makes one with the
//     low descriptors only; the creator keeps those of processes high.

// keptFDs is the first descriptor number of pidfds: what a start opens is below.
const keptFDs = 4096

// emptyMounts is a mount namespace with one mount, in which nothing is and
// nothing can be made. Its descriptor is -1 where it cannot be used: in a user namespace
// /proc may be mounted only where one is to be seen already (mount_too_revealing,
// fs/namespace.c).
//
// It is made by the first start for which that succeeds: a creator that was short of
// descriptors or memory for a moment is not so for ever.
func emptyMounts() (int, error) {
	flat.Lock()
	defer flat.Unlock()
	if !flat.made {
		var err error
		if flat.ns, err = newEmptyMounts(); err != nil {
			return -1, err
		}
		flat.made = true
	}
	return flat.ns, nil
}

var flat struct {
	sync.Mutex
	made bool
	ns   int
}

func newEmptyMounts() (int, error) {
	if !initialUser() {
		return -1, nil
	}
	top, err := newTmpfs(4096, 1)
	if err != nil {
		return -1, fmt.Errorf("empty mount namespace: %w", err)
	}
	defer unix.Close(top)
	var ns uintptr
	p := newProgram()
	p.do("make mounts private", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	p.store(p.do("open mount namespace", unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0), &ns)
	ro := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	p.do("make root read-only", unix.SYS_MOUNT_SETATTR, top, "", unix.AT_EMPTY_PATH, unsafe.Pointer(ro), mountAttrSize)
	p.do("attach root", unix.SYS_MOVE_MOUNT, top, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	p.do("fchdir new root", unix.SYS_FCHDIR, top)
	p.do("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	p.do("detach old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	p.do("exit", unix.SYS_EXIT_GROUP, 0)
	// What it opens is this process's.
	_, pidfd, err := p.run(unix.CLONE_NEWNS|unix.CLONE_FILES, -1)
	if err != nil {
		if ns != 0 {
			unix.Close(int(ns))
		}
		return -1, fmt.Errorf("empty mount namespace: %w", err)
	}
	reap(pidfd)
	unix.Close(pidfd)
	return int(ns), nil
}

// initialUser reports whether this process is in the first user namespace of the machine.
func initialUser() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295"
}

// forgetDescriptors is a child's first step: from here on its table is its own,
// with what is below the limit that closeAbove sets.
func (b *builder) forgetDescriptors() {
	b.program.do("forget descriptors", unix.SYS_CLOSE_RANGE, 0, uint(1<<32-1), unix.CLOSE_RANGE_UNSHARE)
}

// closeAbove sets how many descriptors the child has to begin with: all that
// its steps use.
//
// Preconditions: forgetDescriptors made the first step, and all other steps are there.
func (b *builder) closeAbove() {
	top := 2
	for _, fd := range b.opened {
		top = max(top, fd)
	}
	for _, f := range b.Files {
		if f != nil {
			top = max(top, int(f.Fd()))
		}
	}
	if b.Cgroup != nil {
		for _, f := range b.Cgroup.v1 {
			top = max(top, int(f.Fd()))
		}
	}
	if b.image != nil {
		top = max(top, int(b.image.Fd()))
	}
	b.program.steps[0].args[0] = uintptr(max(top, b.empty) + 1)
}

// keepHigh moves a descriptor that is kept for long out of the way of those
// that are opened for a start. Where the limit of descriptors is too low it stays.
func keepHigh(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, keptFDs)
	if err != nil {
		return fd
	}
	unix.Close(fd)
	return high
}
