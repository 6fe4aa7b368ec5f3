package kernel

import (
	"slices"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// The system calls of wardd's own processes. None of them executes anything,
// traces, mounts or loads a kernel module; only the holder and the creator,
// which make processes, have a deny-list instead of an allow-list.

// own is what a process of wardd needs that only computes, writes files and
// talks over sockets: what a domain has, without executing and signals to
// others, and with descriptors in messages.
var own = func() []Call {
	gate := slices.DeleteFunc(slices.Clone(gateCalls), func(c Call) bool {
		return slices.Contains([]uintptr{unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_SECCOMP}, c.Nr)
	})
	gate = replace(gate, []Call{
		{Nr: unix.SYS_PRCTL, When: oneOf(0, append(slices.Clone(gatePrctl), unix.PR_GET_SECCOMP)...)},
	})
	return append(append(gate, archCalls...), anyArgs(unix.SYS_SENDMSG, unix.SYS_MEMBARRIER, unix.SYS_MINCORE)...)
}()

// AuditCalls are those of the audit writer. Of bpf(2) it needs only what
// tells what a ring buffer is that it was given.
var AuditCalls = &CallTable{
	Allow:   append(slices.Clone(own), Call{Nr: unix.SYS_BPF, When: oneOf(0, unix.BPF_OBJ_GET_INFO_BY_FD)}),
	Missing: missing,
}

// MonitorCalls are those of the monitor: it makes sockets and loads filters, and
// asks how a process ended that was another's to wait for.
var MonitorCalls = &CallTable{
	Allow: append(slices.DeleteFunc(replace(own, []Call{
		{Nr: unix.SYS_IOCTL, When: oneOf(1, unix.TCGETS, fionread, fionbio, fioclex, fionclex, unix.TIOCGWINSZ, unix.PIDFD_GET_INFO)},
		// Leases for writing, which say whether somebody has memory open.
		{Nr: unix.SYS_FCNTL, When: append(oneOf(1, fcntls...),
			Match{{Index: 1, Value: unix.F_SETLEASE}, {Index: 2, Value: unix.F_WRLCK}}, Match{{Index: 1, Value: unix.F_SETLEASE}, {Index: 2, Value: unix.F_UNLCK}})},
	}), func(c Call) bool {
		return c.Nr == unix.SYS_SENDTO || c.Nr == unix.SYS_SETSOCKOPT
	}), anyArgs(
		unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_CONNECT, unix.SYS_SENDTO, unix.SYS_SETSOCKOPT,
		unix.SYS_BPF, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	)...),
	Missing: missing,
}

// MakerCalls is what the holder and the creator, and with them every process
// of a system, cannot do. Of quotas the creator needs those of projects.
var MakerCalls = &CallTable{Allow: []Call{{Nr: unix.SYS_QUOTACTL_FD, When: oneOf(1, quotaSet, quotaGet, quotaState)}}, Refuse: append([]uintptr{
	// other processes' memory and descriptors
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	// the kernel itself
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SYSLOG, unix.SYS_PERF_EVENT_OPEN,
	// the host
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	// ways around what a process is given
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_PERSONALITY, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
}, archRefused...)}

// Capabilities of wardd's own processes. Where the host's root lacks one, so do they.
var (
	// HolderCapabilities: it kills the domains that a dead creator left.
	HolderCapabilities = confine.Of(unix.CAP_KILL)
	// MonitorCapabilities: it loads filters. Their programs read the address
	// of the map value that they change, which takes CAP_PERFMON.
	MonitorCapabilities = confine.Of(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON)
	// CreatorCapabilities: it makes namespaces, mounts, roots, device nodes and users' processes, ends them, and gives up all of this in each.
	CreatorCapabilities = confine.Of(unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETFCAP, unix.CAP_MKNOD, unix.CAP_CHOWN,
		unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_KILL, unix.CAP_SYS_RESOURCE, unix.CAP_SYS_CHROOT)
	// NetworkCapabilities: the creator's too, for domains that listen or connect.
	NetworkCapabilities = confine.Of(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_NET_BIND_SERVICE)
)
