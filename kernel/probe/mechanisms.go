package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"ward/kernel"
)

var mechanisms = []Mechanism{
	{Name: "filters on Unix sockets", Since: "3.19", Needed: true, Use: "checks every message of a gate", probe: func() (string, error) {
		return onPair(func(a, b int) (string, error) { return "", drops(a, b) })
	}},
	{Name: "locked filters", Since: "4.4", Needed: true, Use: "nobody can remove the check, not even root", probe: func() (string, error) { return onPair(locked) }},
	{Name: "frozen shared maps", Since: "5.5", Needed: true, Use: "a denied sender learns why from a page that it cannot write", probe: frozenPage},
	{Name: "BPF ring buffer", Since: "5.8", Needed: true, Use: "audit records from the filters", probe: func() (string, error) { return "", feature(features.HaveMapType(ebpf.RingBuf)) }},
	{Name: "BPF boot-time clock", Since: "5.8", Needed: true, Use: "times of audit records", probe: helper(asm.FnKtimeGetBootNs)},
	{Name: "BPF JIT compiler", Since: "3.16", Use: "filters at machine speed", Without: "filters are interpreted: correct, and several times slower", probe: jit},
	{Name: "cgroup of the sender", Since: "6.18 (seen; not in 6.1)", Use: "binds each end of a gate to its domain", Without: "a descriptor of a gate that leaks can be used by whoever has it", probe: helper(asm.FnGetCurrentCgroupId)},
	{Name: "SO_PEERGROUPS", Since: "4.13", Needed: true, Use: "groups of a client outside Ward", probe: peerGroups},
	{Name: "SO_PEERPIDFD", Since: "6.5", Use: "a client outside Ward is held by descriptor, not by a number", Without: "known by user and groups all the same; its PID in the audit log may be used again", probe: socketOption(unix.SO_PEERPIDFD)},
	{Name: "SO_PASSRIGHTS", Since: "6.16", Use: "a gate refuses descriptors itself", Without: "the system-call filter alone keeps domains from sending descriptors", probe: socketOption(unix.SO_PASSRIGHTS)},
	{Name: "Landlock", Since: "5.13", Needed: true, Use: "files that a domain may reach, besides its root", probe: landlockABI},
	{Name: "Landlock scopes", Since: "6.12", Use: "no signals and no abstract sockets across domains", Without: "PID and network namespaces and user IDs keep them apart", probe: landlockScopes},
	{Name: "seccomp filters", Since: "3.5", Needed: true, Use: "system calls that a domain may make", probe: seccomp},
	{Name: "mount API", Since: "5.2", Needed: true, Use: "builds the root of a domain", probe: func() (string, error) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC)
		return "", closing(fd, err)
	}},
	{Name: "ID-mapped mounts", Since: "5.12", Use: "files with `as: root`", Without: "a system that says `as: root` does not start", probe: mountSetattr},
	{Name: "user namespaces", Since: "3.8", Use: "ID-mapped mounts", Without: "a system that says `as: root` does not start", probe: userNamespaces},
	{Name: "pidfd", Since: "5.3", Needed: true, Use: "signals that reach the right process", probe: func() (string, error) {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		return "", closing(fd, err)
	}},
	{Name: "cgroup v2", Since: "4.5", Use: "identity of a domain's processes, and to kill all of them at once", Without: "user IDs and PID namespaces hold a domain together; senders are not bound", probe: cgroup2},
	{Name: "memory and CPU controllers", Since: "2.6", Use: "quotas of memory and CPU", Without: "a system with a quota of memory or CPU does not start", probe: controllers},
	{Name: "project quotas", Since: "5.14", Use: "quotas of disk, on file systems that have them too", Without: "a system with a quota of disk does not start", probe: func() (string, error) { return "", kernel.CanBoundDisk() }},
	{Name: "sealed memory", Since: "3.17", Needed: true, Use: "policy image and executables that nobody can change; memory of objects: its size, and what is given to be read", probe: func() (string, error) {
		fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		return "", closing(fd, err)
	}},
	{Name: "secret memory", Since: "6.5; from 5.14 with secretmem.enable=1", Use: "memory of objects with `secret: true`", Without: "a system with an object that is `secret: true` does not start", probe: secretMemory},
}

// feature turns the answer of cilium/ebpf's probes into one of ours.
func feature(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) {
		return errNo
	}
	return err
}

func helper(f asm.BuiltinFunc) func() (string, error) {
	return func() (string, error) { return "", feature(features.HaveProgramHelper(ebpf.SocketFilter, f)) }
}

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// attachDrop puts a filter on fd that drops everything.
func attachDrop(fd int) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.FD())
}

// drops shows that a filter on the receiving end keeps a message away.
func drops(a, b int) error {
	if err := attachDrop(b); err != nil {
		return err
	}
	if _, err := unix.Write(a, []byte("x")); err != nil {
		return err
	}
	if n, err := unix.Read(b, make([]byte, 1)); n > 0 || err == nil {
		return errNo
	}
	return nil
}

func locked(a, _ int) (string, error) {
	if err := attachDrop(a); err != nil {
		return "", err
	}
	if err := unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return "", err
	}
	if unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) == nil {
		return "", errNo
	}
	return "", nil
}

func frozenPage() (string, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 512, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return "", feature(err)
	}
	defer m.Close()
	if err := m.Freeze(); err != nil {
		return "", feature(err)
	}
	page, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return "", err
	}
	return "", unix.Munmap(page)
}

func jit() (string, error) {
	text, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable")
	if err != nil {
		// Kernels with CONFIG_BPF_JIT_ALWAYS_ON have the file as well.
		return "", err
	}
	if strings.TrimSpace(string(text)) == "0" {
		return "", errNo
	}
	return "", nil
}

func socketOption(option int) func() (string, error) {
	return func() (string, error) {
		return onPair(func(a, _ int) (string, error) {
			value, err := unix.GetsockoptInt(a, unix.SOL_SOCKET, option)
			if err == nil && option == unix.SO_PEERPIDFD {
				unix.Close(value)
			}
			return "", err
		})
	}
}

// peerGroups: without room for the groups, the answer is ERANGE, or success
// for a process without any.
func peerGroups() (string, error) {
	return onPair(func(a, _ int) (string, error) {
		_, err := unix.GetsockoptInt(a, unix.SOL_SOCKET, unix.SO_PEERGROUPS)
		if errors.Is(err, unix.ERANGE) {
			err = nil
		}
		return "", err
	})
}

func landlockABI() (string, error) {
	abi, err := kernel.LandlockABI()
	if err != nil {
		return "", err
	}
	if abi < 1 {
		return "", errNo
	}
	return fmt.Sprintf("ABI %d", abi), nil
}

func landlockScopes() (string, error) {
	abi, err := kernel.LandlockABI()
	if err == nil && abi < 6 {
		return "", errNo
	}
	return "", err
}

func seccomp() (string, error) {
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		return "", errNo
	}
	return "", nil
}

// mountSetattr calls with a descriptor that is none: a kernel that knows the
// call says EBADF or EINVAL.
func mountSetattr() (string, error) {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return "", nil
	}
	return "", err
}

func userNamespaces() (string, error) {
	text, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil || strings.TrimSpace(string(text)) == "0" {
		return "", errNo
	}
	return "", nil
}

func cgroup2() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errNo
}

func secretMemory() (string, error) {
	err := kernel.SecretMemory()
	if errors.Is(err, kernel.ErrNoSecretMemory) {
		err = errNo
	}
	return "", err
}

// controllers says which version of cgroups has each controller of a quota.
func controllers() (string, error) {
	have, err := kernel.CgroupControllers()
	if err != nil {
		return "", err
	}
	if have["memory"] == "" || have["cpu"] == "" {
		return "", errNo
	}
	return "memory in " + have["memory"] + ", cpu in " + have["cpu"], nil
}
