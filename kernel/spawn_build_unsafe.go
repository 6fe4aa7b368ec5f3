package kernel

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A builder turns a Sandbox into the list of system calls of its child.
type builder struct {
	*Sandbox
	program *program
	opened  []int
	empty   int // mount namespace that the child begins with; -1: a copy of the creator's

	unchecked bool // opensUnchecked
}

func (b *builder) has(d Defence) bool { return b.Without&d == 0 }

func (b *builder) own(fd int) int { b.opened = append(b.opened, fd); return fd }

func (b *builder) close() {
	for _, fd := range b.opened {
		unix.Close(fd)
	}
}

// maxHost is the longest name of a host, in bytes (__NEW_UTS_LEN, include/uapi/linux/utsname.h).
const maxHost = 64

// build makes everything that can be made outside and lists the rest in the
// only order that works: mounts while privileged, then identity, then what
// forbids mounting (Landlock), then the allow-list that forbids almost all of
// these calls, then execve.
func (b *builder) build() error {
	var root *rootTree
	rules := -1
	if b.has(WithRoot) {
		var err error
		if root, err = newRootTree(b.Sandbox); err != nil {
			return err
		}
		b.opened = append(b.opened, root.opened...)
		if b.unchecked, err = b.opensUnchecked(root); err != nil {
			return err
		}
		if b.has(WithLandlock) {
			abi, err := LandlockABI()
			if err != nil {
				return fmt.Errorf("landlock: %w", err)
			}
			if b.Network.Notify && b.Network.host() && abi < 6 {
				return &UnsupportedError{"notify in the host's network namespace (Landlock's scope of abstract sockets)", "6.12"}
			}
			if rules, err = newRuleset(abi, root, &b.Network, b.readRights()); err != nil {
				return err
			}
			b.own(rules)
		}
	}
	p := b.program
	b.forgetDescriptors()
	if err := b.descriptors(); err != nil {
		return err
	}
	var self ref
	if singleUser() {
		self = b.openSelf()
	}
	if b.Cgroup != nil {
		for _, f := range b.Cgroup.v1 {
			p.do("join "+f.Name(), unix.SYS_WRITE, f.Fd(), "0", 1)
		}
	}
	if err := b.sockets(); err != nil {
		return err
	}
	p.do("setsid", unix.SYS_SETSID)
	p.do("umask", unix.SYS_UMASK, 0o077)
	p.try("keyctl join session", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	if b.has(WithNamespaces) {
		if b.Cgroup != nil {
			// Not a flag of clone3: that would take the parent's cgroup as the root.
			p.do("unshare cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
		}
		host := b.Name[:min(len(b.Name), maxHost)]
		p.do("sethostname", unix.SYS_SETHOSTNAME, host, len(host))
		p.do("setdomainname", unix.SYS_SETDOMAINNAME, "(none)", 6)
	}
	if root != nil {
		b.mounts(root, rules)
	}
	if b.has(WithLimits) {
		if err := b.limits(); err != nil {
			return err
		}
	}
	if b.has(WithIdentity) {
		if singleUser() {
			if err := b.userNamespace(self); err != nil {
				return err
			}
		}
		b.identity()
	} else {
		b.setids()
	}
	if b.has(WithNoNewPrivs) {
		p.do("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if rules >= 0 {
		p.do("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
	}
	return b.execute()
}

// descriptors puts Files in their places. Whatever lies in the way is
// moved up first, in the parent.
func (b *builder) descriptors() error {
	p := b.program
	null := -1
	var from []int
	for _, f := range b.Files {
		var fd int
		var err error
		if f != nil {
			fd = int(f.Fd())
		} else {
			if null < 0 {
				if null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
					return fmt.Errorf("open /dev/null: %w", err)
				}
				b.own(null)
			}
			fd = null
		}
		if fd < len(b.Files) {
			if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, len(b.Files)); err != nil {
				return fmt.Errorf("move descriptor: %w", err)
			}
			b.own(fd)
		}
		from = append(from, fd)
	}
	// Descriptors that steps use later must not lie there either; those were
	// opened before, so they are below only if the caller had closed 0 to 3.
	for _, fd := range b.opened {
		if fd < len(b.Files) {
			return fmt.Errorf("descriptors 0 to %d must be open in the creator", len(b.Files)-1)
		}
	}
	for to, fd := range from {
		p.do(fmt.Sprintf("dup3 to descriptor %d", to), unix.SYS_DUP3, fd, to, 0)
	}
	return nil
}

// mounts moves the prepared mounts into place and makes them the root.
func (b *builder) mounts(r *rootTree, rules int) {
	p := b.program
	// First of all: nothing that happens here reaches the host.
	if b.empty >= 0 {
		p.do("enter the empty mount namespace", unix.SYS_SETNS, b.empty, unix.CLONE_NEWNS)
		p.do("copy it", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	} else {
		p.do("make mounts private", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	}
	p.do("attach root", unix.SYS_MOVE_MOUNT, r.top, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	b.submount(r.top, "tmp", unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC})
	b.submount(r.top, "dev", unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC, Attr_clr: unix.MOUNT_ATTR_NODEV})
	p.do("fchdir new root", unix.SYS_FCHDIR, r.top)
	if r.proc {
		const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		p.do("mount proc on /proc", unix.SYS_MOUNT, "proc", "proc", "proc", flags, "subset=pid,hidepid=invisible")
	}
	for _, m := range r.mounts {
		rel := strings.TrimPrefix(m.path, "/")
		if !m.nested {
			p.do("mount "+m.path, unix.SYS_MOVE_MOUNT, m.fd, "", r.top, rel, unix.MOVE_MOUNT_F_EMPTY_PATH)
			continue
		}
		// The way there leads through a directory that a domain may be able to write.
		how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
		at := p.do("find "+m.path, unix.SYS_OPENAT2, r.top, rel, unsafe.Pointer(how), unix.SizeofOpenHow)
		p.do("mount "+m.path, unix.SYS_MOVE_MOUNT, m.fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	}
	ro := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	p.do("make root read-only", unix.SYS_MOUNT_SETATTR, r.top, "", unix.AT_EMPTY_PATH, unsafe.Pointer(ro), mountAttrSize)
	if r.proc && rules >= 0 {
		p.allowLater(rules, r.top, "proc", landlockRead|landlockWrite|unix.LANDLOCK_ACCESS_FS_READ_DIR)
	}
	if b.empty >= 0 {
		p.do("chroot", unix.SYS_CHROOT, ".")
	} else {
		p.do("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
		p.do("detach old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	}
	p.do("chdir /", unix.SYS_CHDIR, "/")
}

// submount mounts a directory of the root tmpfs once more, with other flags.
func (b *builder) submount(top int, name string, attr unix.MountAttr) {
	p := b.program
	t := p.do("open_tree /"+name, unix.SYS_OPEN_TREE, top, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	p.do("mount_setattr /"+name, unix.SYS_MOUNT_SETATTR, t, "", unix.AT_EMPTY_PATH, unsafe.Pointer(&attr), mountAttrSize)
	p.do("mount /"+name, unix.SYS_MOVE_MOUNT, t, "", top, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// limits sets soft and hard limits alike. A limit above the creator's own hard
// one (sudo leaves a core limit of 0) is lowered to it, and then raised if the
// creator may: that takes CAP_SYS_RESOURCE, which root in a container or a
// small guest may lack. Without room for the secret memory that it may make a
// domain does not start.
func (b *builder) limits() error {
	or := func(v, d uint64) uint64 {
		if v == 0 {
			return d
		}
		return v
	}
	l := b.Limits
	for _, r := range []struct {
		name  string
		which int
		value uint64
	}{
		{"NPROC", unix.RLIMIT_NPROC, b.processes()},
		{"NOFILE", unix.RLIMIT_NOFILE, or(uint64(l.Files), defaultFiles)},
		{"FSIZE", unix.RLIMIT_FSIZE, or(l.FileSize, defaultFileSize)},
		{"MEMLOCK", unix.RLIMIT_MEMLOCK, or(l.Locked, DefaultLocked)},
		// 1, not 0: a core_pattern that is a pipe runs its program with a
		// limit of 0, but not with 1 (core(5); fs/coredump.c).
		{"CORE", unix.RLIMIT_CORE, 1},
		{"MSGQUEUE", unix.RLIMIT_MSGQUEUE, 0},
		{"SIGPENDING", unix.RLIMIT_SIGPENDING, 1024},
		{"RTPRIO", unix.RLIMIT_RTPRIO, 0},
		{"NICE", unix.RLIMIT_NICE, 0},
	} {
		if r.which == unix.RLIMIT_NPROC && singleUser() {
			continue // userNamespace sets it
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(r.which, &own); err != nil {
			return fmt.Errorf("getrlimit %s: %w", r.name, err)
		}
		low := min(r.value, own.Max)
		b.program.do("rlimit "+r.name, unix.SYS_PRLIMIT64, 0, r.which, unsafe.Pointer(&unix.Rlimit{Cur: low, Max: low}), 0)
		switch {
		case low < r.value && r.which == unix.RLIMIT_MEMLOCK && l.Locked > DefaultLocked:
			b.program.do("raise rlimit MEMLOCK for the secret memory that it may make (who starts ward needs CAP_SYS_RESOURCE, or that much: ulimit -l, LimitMEMLOCK=)",
				unix.SYS_PRLIMIT64, 0, r.which, unsafe.Pointer(&unix.Rlimit{Cur: r.value, Max: r.value}), 0)
		case low < r.value:
			b.program.try("raise rlimit "+r.name, unix.SYS_PRLIMIT64, 0, r.which, unsafe.Pointer(&unix.Rlimit{Cur: r.value, Max: r.value}), 0)
		}
	}
	return nil
}

// secureBits: root is nothing special, ambient capabilities cannot be raised,
// and none of it can be changed (linux/securebits.h). Bits 2 and 4 (no fix-up
// on setuid, keep capabilities) stay clear and are locked: setresuid is what
// empties the capability sets.
const secureBits = 1<<0 | 1<<1 | 1<<3 | 1<<5 | 1<<6 | 1<<7

// identity gives up every privilege for good.
func (b *builder) identity() {
	p := b.program
	for c := 0; c <= lastCapability(); c++ {
		p.do(fmt.Sprintf("drop capability %d from the bounding set", c), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0)
	}
	p.try("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	p.do("securebits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0)
	b.setids()
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	p.do("capset", unix.SYS_CAPSET, unsafe.Pointer(head), unsafe.Pointer(data))
}

func (b *builder) setids() {
	p := b.program
	if !singleUser() { // there it is not permitted, and the groups stay
		p.do("setgroups", unix.SYS_SETGROUPS, 0, 0)
	}
	p.do("setresgid", unix.SYS_SETRESGID, uint(b.GID), uint(b.GID), uint(b.GID))
	p.do("setresuid", unix.SYS_SETRESUID, uint(b.UID), uint(b.UID), uint(b.UID))
}

// execute closes what is left, installs the allow-list and executes.
func (b *builder) execute() error {
	p := b.program
	argv := p.vector(append([]string{b.Program}, b.Args...))
	envp := p.vector(b.Env)
	keep := len(b.Files)
	exe := -1
	if b.image != nil {
		// The memory file takes the next number; it vanishes with execve.
		exe = keep
		fd := int(b.image.Fd())
		if fd <= keep {
			return fmt.Errorf("descriptors 0 to %d must be open in the creator", keep)
		}
		p.do("dup3 program", unix.SYS_DUP3, fd, exe, unix.O_CLOEXEC)
		keep++
	}
	p.do("close_range", unix.SYS_CLOSE_RANGE, keep, uint(1<<32-1), 0)
	// clone3 has reset handlers; what the creator ignores would stay ignored.
	def := new([4]uint64) // struct sigaction of SIG_DFL
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			p.do(fmt.Sprintf("default of signal %d", sig), unix.SYS_RT_SIGACTION, sig, unsafe.Pointer(def), 0, 8)
		}
	}
	// All but one: that a write was refused stays to be seen (FileSizeRefused), and ends nothing.
	mask := new(uint64)
	*mask = fileSizeSignal
	p.do("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, unsafe.Pointer(mask), 0, 8)
	if b.has(WithSeccomp) {
		table := GateCalls
		if b.Host {
			table = HostCalls
		}
		table = netCalls(table, &b.Network, b.Host)
		if b.readsOnly() {
			table = noTruncation(table)
		}
		if b.unchecked {
			table = uncheckedOpens(table)
		}
		prog, err := CompileSeccomp(table)
		if err != nil {
			return err
		}
		fprog := &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
		p.do("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, unsafe.Pointer(fprog))
	}
	if exe >= 0 {
		p.do("execute "+b.Program, unix.SYS_EXECVEAT, exe, "", argv, envp, unix.AT_EMPTY_PATH)
	} else {
		p.do("execute "+b.Program, unix.SYS_EXECVEAT, unix.AT_FDCWD, b.Program, argv, envp, 0)
	}
	b.closeAbove()
	return nil
}

var lastCap = func() int {
	var n int
	s, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	if _, err := fmt.Sscan(string(s), &n); err != nil || n < 0 || n > 63 {
		return unix.CAP_LAST_CAP
	}
	return n
}()

func lastCapability() int { return lastCap }

const mountAttrSize = unsafe.Sizeof(unix.MountAttr{})
