package redteam

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ward/image"
)

var mounts = []attack{
	mount("mount", "mounts a tmpfs over /tmp", "mount"),
	mount("bind mount", "mounts /usr over /tmp", "bind", "/usr"),
	mount("open_tree, move_mount", "clones a mount and attaches the clone elsewhere", "opentree", "/usr"),
	mount("pivot_root", "makes a root of its own", "pivot"),
	rootMount("remount", "makes a read-only mount writable", "remount", "/usr"),
	rootMount("umount", "takes a mount away that hides something", "umount", "/tmp"),
	rootMount("mount_setattr", "takes noexec and read-only away from a mount", "mountattr", "/tmp"),
	rootMount("open_tree, mount_setattr", "takes read-only away from a detached clone, which Landlock does not judge", "opentreeattr", "/usr"),
	rootMount("fspick, fsconfig", "reconfigures a file system by the new calls", "fspick", "/tmp"),
	{name: "fsopen, fsmount", class: "new mount calls", tries: "makes a detached file system of its own and writes to it", stops: "seccomp; as root of a user namespace Landlock", order: []string{"fsopen"}, host: true,
		layers: []layer{userRootLayer}, control: freeRoot},
	{name: "fresh /proc", class: "mounts", tries: "mounts a /proc that shows more than processes", stops: "seccomp; as root of a user namespace Landlock", order: []string{"mountproc"}, host: true,
		layers: []layer{userRootLayer}, control: freeRoot},
	{name: "fresh /sys", class: "mounts", tries: "mounts a /sys", stops: "seccomp; as root of a user namespace Landlock; without it the kernel: none is in view", order: []string{"mountsysfs"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: asRoot},
	{name: "propagation", class: "mounts", tries: "shares its root's mounts with their peers", stops: "seccomp; as root of a user namespace Landlock", order: []string{"propagate", "/"}, host: true,
		layers: []layer{userRootLayer}, control: asRoot},
	{name: "chroot", class: "chroot escape", tries: "leaves the root by a second chroot (chroot(2)) and reads a file of the host", stops: "seccomp; the root is mounted over an empty one: there is nothing above", order: []string{"chroot", "/tmp", "{secret}"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: control{root: true, more: []string{"prepare"}}},
	{name: "cgroup mount", class: "CVE-2022-0492", tries: "mounts the cgroup hierarchy, to move itself and raise its limits", stops: "seccomp; as root of a user namespace Landlock", order: []string{"cgroupmount"}, host: true,
		layers: []layer{userRootLayer}, control: freeRoot},
	{name: "cgroup.procs", class: "cgroup escape", tries: "writes itself into another cgroup's cgroup.procs", stops: "no cgroup file system in its root; user ID", order: []string{"cgroupmove", "{cgroup}"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | files}, {without: all}}, control: asRoot},
	{name: "release_agent", class: "CVE-2022-0492", tries: "mounts a hierarchy of version 1 and names a program that root's kernel thread runs", stops: "seccomp; as root of a user namespace Landlock; without it the kernel", order: []string{"releaseagent"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: asRoot},
	{name: "clone, user namespace", class: "user namespaces", tries: "makes a user namespace, in which it has all capabilities", stops: "seccomp: flags of clone", order: []string{"cloneflags", "0x10000000"}, control: noSeccomp},
	{name: "clone, user namespace, shell in view", class: "user namespaces", tries: "the same with the host's programs in view, where fork is allowed", stops: "seccomp: flags of clone", order: []string{"cloneflags", "0x10000000"}, host: true, control: noSeccomp},
	{name: "clone, high bits", class: "user namespaces", tries: "the same with bits that clone ignores", stops: "seccomp compares the 32 bits that the kernel looks at", order: []string{"cloneflags", "0x710000000"}, host: true, control: noSeccomp},
	{name: "clone3, user namespace", class: "CVE-2022-0185 by clone3", tries: "the same by clone3, whose flags a filter cannot see", stops: "seccomp: clone3 does not exist", order: []string{"clone3", "0x10000000"}, host: true, control: noSeccomp},
	{name: "unshare", class: "user namespaces", tries: "leaves its network namespace for a new one", stops: "seccomp; no CAP_SYS_ADMIN", order: []string{"unshare", "0x40000000"}, layers: []layer{{without: seccomp | landlock}}, control: asRoot},
	{name: "setns", class: "namespaces", tries: "enters the host's UTS namespace through /proc", stops: "seccomp; PID namespace; no CAP_SYS_ADMIN", order: []string{"setns", "/proc/{mypid}/ns/uts"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock}}, control: asRoot},
	{name: "setns by pidfd", class: "namespaces", tries: "enters a victim's namespaces by its pidfd", stops: "seccomp; PID namespace; no CAP_SYS_ADMIN", order: []string{"setnspid", "{pid}"}, host: true,
		layers: []layer{{without: seccomp | landlock}, {without: all}}, control: asRoot},
	{name: "sethostname", class: "host settings", tries: "changes the host's name", stops: "seccomp; UTS namespace; no CAP_SYS_ADMIN", order: []string{"hostname"}, layers: []layer{{without: seccomp | landlock}}, control: asRoot},
	{name: "setdomainname", class: "host settings", tries: "changes the host's NIS domain", stops: "seccomp; UTS namespace; no CAP_SYS_ADMIN", order: []string{"domainname"}, layers: []layer{{without: seccomp | landlock}}, control: asRoot},
	{name: "a directory is replaced by a link", class: "symlinks at setup", tries: "puts a symbolic link to the host in the place of a directory in its own one that the next start mounts", stops: "paths are opened by directories that root owns, links not followed", order: []string{"read", "{rw}/inner/secret"},
		domain:  func(s *scene, d *image.Domain) { linkInPlace(s, d, s.uid) },
		control: control{how: "the directory in which the link is made is root's", domain: func(s *scene, d *image.Domain) { linkInPlace(s, d, 0) }}},
	{name: "program changed after it was pinned", class: "check and use", tries: "starts as another program than the one that was pinned (a change between hash and execution: TestAttackSwap)", stops: "its digest; what is hashed is what runs, a sealed copy", order: []string{"executed"},
		domain:  func(s *scene, d *image.Domain) { swapped(s, d, true) },
		control: control{how: "without a digest", domain: func(s *scene, d *image.Domain) { swapped(s, d, false) }}},
}

// mount is an attack that root of a user namespace can make.
func mount(name, tries string, order ...string) attack {
	return attack{name: name, class: "mounts", tries: tries, stops: "seccomp; as root of a user namespace Landlock", order: order, host: true,
		layers: []layer{userRootLayer}, control: freeRoot}
}

// rootMount is one for which the kernel wants root of the mount's own namespace.
func rootMount(name, tries string, order ...string) attack {
	return attack{name: name, class: "mounts", tries: tries, stops: "seccomp; as root of a user namespace Landlock, or the kernel: mounts of another namespace are locked", order: order, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: control{root: true, more: []string{"prepare"}}}
}

// linkInPlace: the domain is granted a directory, and one in it, in whose
// place there is a link to a directory that it is not granted. Whoever owns
// the outer directory could have put it there.
func linkInPlace(s *scene, d *image.Domain, owner uint32) {
	outer, secret := s.word("rw"), filepath.Join(s.dir, "elsewhere")
	s.must(os.Mkdir(secret, 0o755))
	s.file("elsewhere/secret", 0o644)
	s.must(os.Symlink(secret, filepath.Join(outer, "inner")))
	s.must(os.Chown(outer, int(owner), int(owner)))
	s.must(os.Chmod(outer, 0o755))
	// A link that only root can have made is followed: the domain has what it leads to.
	d.Files = []image.File{{Path: filepath.Join(outer, "inner"), Access: image.Read}}
}

// swapped: the program is another one than when it was hashed.
func swapped(s *scene, d *image.Domain, digest bool) {
	path := s.copyHostile("pinned", 0, 0o755)
	b, err := os.ReadFile(path)
	s.must(err)
	sum := sha256.Sum256(b[:len(b)-1]) // of what was there
	if digest {
		d.Digest = sum[:]
	}
	d.Program = path
}

var processes = []attack{
	other("ptrace", "attaches to a process of the same user (Yama off)", "CWE-250", "ptrace", "{pid}"),
	other("PTRACE_SEIZE", "the same without a stop", "ptrace", "seize", "{pid}"),
	{name: "PTRACE_TRACEME", class: "ptrace", tries: "makes its creator its tracer, whose waits then end early", stops: "seccomp", order: []string{"traceme"}, control: noSeccomp},
	other("process_vm_readv", "reads a secret in another's memory", "memory of others", "vmread", "{pid}", "{address}"),
	other("process_vm_writev", "writes there", "memory of others", "vmwrite", "{pid}", "{address}"),
	other("/proc/PID/mem", "opens another's memory as a file", "CVE-2012-0056", "procmem", "{pid}", "{address}"),
	other("pidfd_getfd", "takes another's descriptor", "descriptors of others", "getfd", "{pid}"),
	other("pidfd_send_signal", "signals another by a pidfd", "signals", "pidfdsignal", "{pid}"),
	{name: "SO_PEERPIDFD", class: "signals", tries: "gets a pidfd of the process at the other end of its socket, and signals it", stops: "PID namespace; user ID (where there is a shell; seccomp elsewhere)", order: []string{"peerpidfd"}, host: true,
		layers: []layer{{without: seccomp | landlock}, {without: all}}, control: control{root: true, needs: noPeerPidfd}},
	{name: "process_madvise", class: "memory of others", tries: "has another's memory written out", stops: "seccomp; PID namespace; no CAP_SYS_NICE", order: []string{"madvise", "{pid}", "{address}"},
		layers: []layer{{without: seccomp | landlock}, {without: all}}, control: asRoot},
	other("kcmp", "compares its memory with another's", "information", "kcmp", "{pid}"),
	other("move_pages", "asks where another's pages are", "information", "movepages", "{pid}", "{address}"),
	other("kill", "signals another of its user", "signals", "kill", "{pid}"),
	other("tgkill", "signals another's thread", "signals", "tgkill", "{pid}"),
	other("rt_sigqueueinfo", "the same with a forged sender", "signals", "sigqueue", "{pid}"),
	other("everybody", "looks for anybody whom it could signal", "signals", "killall", "{pid}"),
	other("F_SETOWN", "makes another the one who gets SIGIO of its socket", "SIGIO", "setown", "{pid}"),
	other("F_SETOWN_EX", "the same by another command", "SIGIO", "setownex", "{pid}"),
	other("FIOSETOWN", "the same by an ioctl", "SIGIO", "fiosetown", "{pid}"),
	{name: "F_SETSIG", class: "SIGIO", tries: "makes SIGKILL the signal of its socket", stops: "seccomp: list of fcntl commands", order: []string{"setsig"}, control: noSeccomp},
	other("setpriority", "slows another down", "scheduling", "setpriority", "{pid}"),
	other("sched_setaffinity", "binds another to processors", "scheduling", "affinity", "{pid}"),
	other("sched_setscheduler", "changes another's scheduling class", "scheduling", "scheduler", "{pid}"),
	other("ioprio_set", "slows another's input and output down", "scheduling", "ioprio", "{pid}"),
	other("prlimit", "reads and sets another's limits", "limits", "prlimit", "{pid}"),
	other("get_robust_list", "asks where another's locks are", "information", "robust", "{pid}"),
	other("getsid", "asks for another's session", "information", "getsid", "{pid}"),
	{name: "nice", class: "scheduling", tries: "raises its own priority", stops: "seccomp; no CAP_SYS_NICE", order: []string{"nice"}, layers: []layer{{without: seccomp}}, control: asRoot},
	{name: "SCHED_FIFO", class: "scheduling", tries: "makes itself a real-time process, which nothing else interrupts", stops: "seccomp; no CAP_SYS_NICE; RLIMIT_RTPRIO", order: []string{"realtime"}, layers: []layer{{without: seccomp}}, control: asRoot},
	{name: "SCHED_DEADLINE", class: "scheduling", tries: "reserves a processor", stops: "seccomp; no CAP_SYS_NICE", order: []string{"deadline"}, layers: []layer{{without: seccomp}}, control: asRoot},
	{name: "raise its limits", class: "limits", tries: "raises its limit of the size of files", stops: "hard limits; no CAP_SYS_RESOURCE", order: []string{"raiselimit"}, layers: []layer{{without: seccomp}}, control: control{without: limits}},
	{name: "CLONE_PARENT", class: "process tree", tries: "makes a child of its creator's", stops: "seccomp: flags of clone; process 1 of a namespace has no sibling", order: []string{"cloneparent"}, host: true,
		layers: []layer{{without: seccomp}}, control: control{without: seccomp | namespaces}},
	{name: "fork", class: "process tree", tries: "makes a process, where threads are all that is needed", stops: "seccomp: flags of clone", order: []string{"fork"}, control: noSeccomp},
	procfs("timing of another", "reads when another process ran", "/proc/{pid}/stat"),
	procfs("environment of another", "reads another's environment", "/proc/{pid}/environ"),
	procfs("command line of another", "reads another's arguments", "/proc/{pid}/cmdline"),
	procfs("timing of the machine", "reads how much the processors ran for whom", "/proc/stat"),
	procfs("interrupts", "reads when keys are pressed and packets come", "/proc/interrupts"),
	procfs("load of the machine", "reads how busy the machine is, and the last process ID", "/proc/loadavg"),
	procfs("mounts of the host", "reads the host's mounts", "/proc/{mypid}/mountinfo"),
	disks("partitions", "reads what disks there are", "/proc/partitions"),
}

// other is an attack on a process of the same user.
func other(name, tries, class string, order ...string) attack {
	return attack{name: name, class: class, tries: tries, stops: "PID namespace; seccomp", order: order,
		layers: []layer{{without: seccomp | landlock}}, control: nothing}
}

// procfs is an attack that reads a file of /proc.
func procfs(name, tries, file string) attack {
	return attack{name: name, class: "information in /proc", tries: tries, stops: "a /proc of its own processes; Landlock", order: []string{"read", file}, host: true,
		layers: []layer{{without: seccomp | landlock}}, control: nothing}
}

// disks is such an attack that shows something only on a machine with disks.
func disks(name, tries, file string) attack {
	a := procfs(name, tries, file)
	a.control.needs = func() string {
		if text, err := os.ReadFile(file); err != nil || len(text) == 0 {
			return "this machine has no disks"
		}
		return ""
	}
	return a
}

// noPeerPidfd says why SO_PEERPIDFD (Linux 6.5) cannot be shown.
func noPeerPidfd() string {
	const soPeerPidfd = 77 // include/uapi/asm-generic/socket.h
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	pidfd, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, soPeerPidfd)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return "this kernel has no SO_PEERPIDFD (Linux 6.5)"
	}
	if err == nil {
		unix.Close(pidfd)
	}
	return ""
}

var objects = []attack{
	object("System V shared memory", "reads another's memory segment", "shm", "{shm}"),
	object("System V messages", "reads another's message queue", "msg", "{msg}"),
	object("System V semaphores", "reads another's semaphore", "sem", "{sem}"),
	object("POSIX message queues", "opens another's queue by its name", "mq", "{mq}"),
	{name: "add_key", class: "CVE-2016-0728", tries: "keeps a key in the kernel", stops: "seccomp", order: []string{"addkey"}, control: noSeccomp},
	{name: "keyctl", class: "keyrings", tries: "uses its user's keyring, which all processes of a user share", stops: "seccomp", order: []string{"userkeyring"}, control: noSeccomp},
	{name: "request_key", class: "keyrings", tries: "has the kernel ask a program of root's for a key", stops: "seccomp", order: []string{"requestkey"}, control: noSeccomp},
}

// object is an attack on an IPC object that anybody may use, by its number or name.
func object(name, tries string, order ...string) attack {
	return attack{name: name, class: "IPC of others", tries: tries, stops: "seccomp; IPC namespace", order: order,
		layers: []layer{{without: seccomp | landlock}}, control: control{without: seccomp | landlock | namespaces}}
}

var calls = []attack{
	call("io_uring", "CVE-2021-41073, CVE-2022-29582", "makes a ring, whose operations no seccomp filter sees", "iouring", noSeccomp),
	call("bpf, map", "CVE-2021-3490 and the like", "makes a map", "bpfmap", asRoot),
	call("bpf, program", "CVE-2021-3490 and the like", "loads a program", "bpfprogram", asRoot),
	call("perf_event_open", "CVE-2013-2094", "measures itself", "perf", control{without: seccomp, needs: perfForRoot}),
	call("userfaultfd", "exploit technique", "stops the kernel in the middle of a copy", "userfaultfd", noSeccomp),
	{name: "/dev/userfaultfd", class: "exploit technique", tries: "the same by the device", stops: "a /dev of five devices; Landlock", order: []string{"openread", "/dev/userfaultfd"}, layers: []layer{{without: seccomp | landlock}},
		control: control{root: true, needs: missing("/dev/userfaultfd")}},
	call("personality", "exploit technique", "makes what is readable executable (READ_IMPLIES_EXEC)", "personality", noSeccomp),
	call("modify_ldt", "CVE-2015-5157", "makes segments", "ldt", control{without: seccomp, needs: noSegments}),
	call("iopl", "hardware", "gets all I/O ports", "iopl", control{root: true, needs: noPorts}),
	call("ioperm", "hardware", "gets one I/O port", "ioperm", control{root: true, needs: noPorts}),
	call("reboot", "host settings", "restarts the machine (the control: without the magic numbers)", "reboot", asRoot),
	call("kexec_load", "host settings", "loads another kernel", "kexec", control{root: true, needs: noKexec}),
	call("delete_module", "host settings", "removes a module (the control: one that does not exist)", "module", control{root: true, needs: missing("/proc/modules")}),
	call("finit_module", "host settings", "loads a module (the control: from no file)", "loadmodule", control{root: true, needs: missing("/proc/modules")}),
	call("swapon", "host settings", "swaps to a file (the control: one that does not exist)", "swapon", asRoot),
	call("acct", "host settings", "has all processes recorded (the control: in no file)", "acct", asRoot),
	call("quotactl", "host settings", "a command for a disk's quotas (the control: of no disk)", "quotactl", noSeccomp),
	call("settimeofday", "host settings", "sets the clock (the control: the time zone, to what it is)", "settime", asRoot),
	call("adjtimex", "host settings", "adjusts the clock (the control: its error bound, to what it is)", "adjtime", asRoot),
	call("syslog", "information", "reads the kernel's log", "syslog", asRoot),
	call("vhangup", "terminals", "hangs up a terminal", "vhangup", asRoot),
	call("splice", "CVE-2022-0847 (Dirty Pipe)", "splices a page of a file that it may only read into a pipe", "splice", noSeccomp),
	call("vmsplice", "CVE-2020-29374, CVE-2008-0600", "gives pages of its memory to a pipe", "vmsplice", noSeccomp),
	call("remap_file_pages", "CVE-2012-3511", "an old way to map", "remappages", noSeccomp),
	call("set_mempolicy", "CVE-2017-7616", "says where its memory comes from", "mempolicy", noSeccomp),
	call("MADV_MERGEABLE", "CVE-2015-2877", "has its pages merged with equal ones of others, to find out by time whether there are any", "mergeable", control{without: seccomp, needs: missing("/sys/kernel/mm/ksm")}),
	call("memfd_secret", "hidden memory", "memory that cannot be looked at or swapped", "secretmemory", control{without: seccomp | limits, needs: noSecretMemory}),
	call("seccomp listener", "CVE-2021-30465 class", "a filter that hands system calls to another process", "notifyfilter", noSeccomp),
	call("allow-all filter", "seccomp", "adds a filter that allows everything, and then userfaultfd", "allowall", noSeccomp),
	call("syscall user dispatch", "seccomp", "has its system calls come back to itself", "syscalluserdispatch", noSeccomp),
	call("PR_SET_MM", "prctl", "changes where its program is said to lie", "prctlmm", control{root: true, needs: noCapability(unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE")}),
	{name: "int 0x80", class: "32-bit calls", tries: "makes a system call by 32-bit numbers, which mean others", stops: "seccomp: architecture", order: []string{"int80"}, killed: true, control: noSeccomp},
	{name: "x32", class: "x32 calls", tries: "makes a system call by x32 numbers", stops: "seccomp: numbers with the x32 bit", order: []string{"x32"}, killed: true, control: control{without: seccomp, needs: noX32}},
}

// call is an attack that is one system call.
func call(name, class, tries, order string, c control) attack {
	a := attack{name: name, class: class, tries: tries, stops: "seccomp", order: []string{order}, control: c}
	if c.root {
		a.stops = "seccomp; no capability"
		a.layers = []layer{{without: seccomp}}
	}
	return a
}

func noSegments() string {
	if runtime.GOARCH != "amd64" {
		return "this architecture has no segments"
	}
	return ""
}

// perfForRoot: distributions have a level at which only root may measure.
func perfForRoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if level, _ := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || level > 2 {
		return "perf_event_open is for root only on this machine"
	}
	return ""
}

func itoa(n int) string { return strconv.Itoa(n) }
