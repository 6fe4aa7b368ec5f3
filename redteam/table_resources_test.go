package redteam

import (
	"golang.org/x/sys/unix"

	"ward/image"
)

var sockets = []attack{
	socket("AF_UNIX", "names, descriptors", unix.AF_UNIX, unix.SOCK_STREAM, noSeccomp),
	socket("AF_INET", "network", unix.AF_INET, unix.SOCK_STREAM, noSeccomp),
	socket("netlink", "CVE-2017-7184 and the like", unix.AF_NETLINK, unix.SOCK_RAW, noSeccomp),
	socket("vsock", "CVE-2021-26708; no namespace holds it", unix.AF_VSOCK, unix.SOCK_STREAM, control{without: seccomp, needs: noFamily(unix.AF_VSOCK, unix.SOCK_STREAM, "vsock")}),
	socket("AF_ALG", "CVE-2017-13215 and the like", unix.AF_ALG, unix.SOCK_SEQPACKET, control{without: seccomp, needs: noFamily(unix.AF_ALG, unix.SOCK_SEQPACKET, "AF_ALG")}),
	socket("raw", "network", unix.AF_INET, unix.SOCK_RAW, asRoot),
	socket("packet", "CVE-2016-8655, CVE-2017-7308", unix.AF_PACKET, unix.SOCK_RAW, asRoot),
	{name: "abstract socket", class: "CVE-2020-15257 (containerd)", tries: "connects to an abstract socket of the host", stops: "seccomp; network namespace; Landlock: scope", order: []string{"dial", "unix", "{abstract}"},
		layers: []layer{{without: seccomp}, {without: seccomp | landlock}}, control: control{without: seccomp | landlock | namespaces}},
	{name: "socket file", class: "files", tries: "connects to a socket of the host by its path", stops: "seccomp; root of its own", order: []string{"dial", "unix", "{unix}"},
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "TCP", class: "network", tries: "connects to a server on the host's loopback address", stops: "seccomp; network namespace; Landlock: ports", order: []string{"dial", "tcp", "{tcp}"},
		layers: []layer{{without: seccomp}, {without: seccomp | landlock}}, control: control{without: seccomp | landlock | namespaces}},
	{name: "SCM_RIGHTS", class: "descriptors", tries: "sends a descriptor on its socket", stops: "seccomp: no sendmsg", order: []string{"rights"}, control: noSeccomp},
	{name: "SCM_CREDENTIALS", class: "identity", tries: "sends as root and as another process", stops: "seccomp: no sendmsg; the kernel: no CAP_SETUID", order: []string{"credentials", "1", "0"},
		layers: []layer{{without: seccomp}, {without: all}}, control: asRoot},
	{name: "socketpair", class: "descriptors", tries: "makes a pair of sockets over which descriptors travel", stops: "seccomp", order: []string{"socketpair"}, control: noSeccomp},
	{name: "bind", class: "names", tries: "gives its socket a name", stops: "seccomp", order: []string{"bindname"}, control: noSeccomp},
	{name: "SO_SNDBUF", class: "memory", tries: "makes the buffer of its socket larger", stops: "seccomp: list of options", order: []string{"sendbuffer"}, control: noSeccomp},
	{name: "SO_ATTACH_FILTER", class: "filters", tries: "attaches a filter of its own to its socket", stops: "seccomp: list of options", order: []string{"attachfilter"}, control: noSeccomp},
	{name: "SO_PASSCRED", class: "identity", tries: "has messages carry credentials", stops: "seccomp: list of options", order: []string{"passcred"}, control: noSeccomp},
}

func socket(name, class string, family, typ int, c control) attack {
	a := attack{name: "socket, " + name, class: class, tries: "makes one", stops: "seccomp", order: []string{"socket", itoa(family), itoa(typ), "0"}, control: c}
	if typ == unix.SOCK_RAW && family == unix.AF_INET {
		a.order[3] = itoa(unix.IPPROTO_ICMP)
	}
	if c.root {
		a.stops, a.layers = "seccomp; no CAP_NET_RAW", []layer{{without: seccomp}}
	}
	return a
}

// noFamily says why there can be no control with sockets of a family.
func noFamily(family, typ int, name string) func() string {
	return func() string {
		fd, err := unix.Socket(family, typ, 0)
		if err != nil {
			return "this kernel has no " + name
		}
		unix.Close(fd)
		return ""
	}
}

// without says why a system call cannot be shown on a kernel that lacks it.
func without(nr uintptr, what string, args ...uintptr) string {
	var a [3]uintptr
	copy(a[:], args)
	if _, _, e := unix.Syscall(nr, a[0], a[1], a[2]); e == unix.ENOSYS {
		return "this kernel has no " + what
	}
	return ""
}

func noX32() string   { return without(unix.SYS_GETPID|0x40000000, "x32 calls") }
func noKexec() string { return without(unix.SYS_KEXEC_LOAD, "kexec_load", 0, 1<<20) } // more segments than there may be
// noPorts: iopl has the number 172 on amd64, and is nowhere else.
func noPorts() string { return without(172, "I/O ports for programs") }
func noSecretMemory() string {
	return without(447, "memfd_secret, or it is not turned on", ^uintptr(0))
}

// noCapability says that the tests do not have a capability that a control needs.
func noCapability(number int, name string) func() string {
	return func() string {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if unix.Capget(&head, &data[0]) == nil && data[number/32].Effective>>(number%32)&1 == 0 {
			return "root has no " + name + " on this machine"
		}
		return ""
	}
}

// Exhaustion: each attack has succeeded if it got as much as it was told to.
// The domain's quota, or Ward's default, is below, and what the order asks for
// is harmless where nothing stops it.
var exhaustion = []attack{
	exhaust("processes (fork bomb)", "makes 30 processes of several threads with a quota of 40", "limits: RLIMIT_NPROC of a user ID of its own; pids.max", quota(image.Quota{Processes: 40}), control{without: limits, domain: unlimited, how: "without limits and quota"}, "forks", "30").inHost(),
	exhaust("threads", "makes 100 threads with a quota of 40", "limits: RLIMIT_NPROC of a user ID of its own; pids.max", quota(image.Quota{Processes: 40}), control{without: limits, domain: unlimited, how: "without limits and quota"}, "threads", "100"),
	exhaust("memory", "touches 96 MiB with a quota of 48", "cgroup: memory", quota(image.Quota{Memory: 48 << 20}), control{domain: unlimited, how: "without the quota"}, "pages", "96").byKill(),
	exhaust("descriptors", "has 200 descriptors with a quota of 64", "limits: RLIMIT_NOFILE", quota(image.Quota{Files: 64}), control{domain: unlimited, how: "without the quota"}, "opens", "200"),
	exhaust("pipes", "has 100 pipes with a quota of 64 descriptors", "limits: RLIMIT_NOFILE", quota(image.Quota{Files: 64}), control{domain: unlimited, how: "without the quota"}, "pipes", "100"),
	exhaust("epoll instances", "has 100 with a quota of 64 descriptors", "limits: RLIMIT_NOFILE", quota(image.Quota{Files: 64}), control{domain: unlimited, how: "without the quota"}, "epolls", "100"),
	exhaust("bytes on /tmp", "writes 4 MiB to a /tmp of 1 MiB", "size of the tmpfs", tmp(1<<20), control{domain: largeTmp, how: "with a /tmp of 16 MiB"}, "blocks", "64"),
	exhaust("inodes on /tmp", "makes 2,000 directories on a /tmp of 1 MiB", "inodes of the tmpfs", tmp(1<<20), control{domain: largeTmp, how: "with a /tmp of 16 MiB"}, "inodes", "2000"),
	exhaust("file size", "makes a file of 2 GiB, a hole, in a directory of the host", "limits: RLIMIT_FSIZE", nil, control{without: limits}, "filesize", "{rw}", itoa(2<<30)).byKill(),
	exhaust("pending signals", "makes 2,000 timers", "limits: RLIMIT_SIGPENDING", nil, control{without: limits, needs: fewSignals}, "timers", "2000"),
	exhaust("locked memory", "locks 32 pages with the host's programs in view", "limits: RLIMIT_MEMLOCK", nil, control{without: limits | seccomp, needs: littleLocked}, "lockedpages", "32").inHost(),
	exhaust("message queues", "makes 5 POSIX message queues", "seccomp; Landlock; limits: RLIMIT_MSGQUEUE", nil, control{without: seccomp | landlock | limits}, "queues", "5").withLayer(layer{without: seccomp | landlock}),
	exhaust("shared memory", "makes 5 System V segments", "seccomp", nil, noSeccomp, "shms", "5"),
	exhaust("huge pages", "takes a huge page of the host's pool, which is not charged to its memory (the control: of an empty pool)", "seccomp: flags of mmap", nil, control{without: seccomp, needs: missing("/proc/sys/vm/nr_hugepages")}, "hugepage"),
	exhaust("keys", "keeps 5 keys in the kernel", "seccomp", nil, noSeccomp, "keys", "5"),
}

func exhaust(name, tries, stops string, domain func(*scene, *image.Domain), c control, order ...string) attack {
	return attack{name: name, class: "exhaustion", tries: tries, stops: stops, order: order, domain: domain, control: c}
}

func (a attack) inHost() attack           { a.host = true; return a }
func (a attack) byKill() attack           { a.killed = true; return a }
func (a attack) withLayer(l layer) attack { a.layers = append(a.layers, l); return a }

func quota(q image.Quota) func(*scene, *image.Domain) {
	return func(_ *scene, d *image.Domain) { d.Quota = q }
}
func unlimited(_ *scene, d *image.Domain) { d.Quota = image.Quota{} }

func tmp(bytes uint64) func(*scene, *image.Domain) {
	return func(_ *scene, d *image.Domain) { d.Tmp = bytes }
}
func largeTmp(_ *scene, d *image.Domain) { d.Tmp = 16 << 20 }

// fewSignals and littleLocked say whether the test's own limits are too low for the control.
func fewSignals() string   { return tooLow(unix.RLIMIT_SIGPENDING, 2001, "pending signals") }
func littleLocked() string { return tooLow(unix.RLIMIT_MEMLOCK, 33*4096, "locked memory") }

func tooLow(which int, want uint64, what string) string {
	var l unix.Rlimit
	if unix.Getrlimit(which, &l) == nil && l.Cur < want {
		return "the test's own limit of " + what + " is lower"
	}
	return ""
}
