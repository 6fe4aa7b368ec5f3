package thread

import (
	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

func plain(nrs ...uintptr) []confine.Call {
	var out []confine.Call
	for _, nr := range nrs {
		out = append(out, confine.Call{Nr: nr})
	}
	return out
}

// oneOf is true if the low word of an argument is one of values.
func oneOf(index int, values ...uint32) []confine.Match {
	var out []confine.Match
	for _, v := range values {
		out = append(out, confine.Match{{Index: index, Value: v}})
	}
	return out
}

// noBlindTruncation keeps a file that may only be read from being emptied by
// opening it, which Landlock checks from ABI 3 on.
func noBlindTruncation(flags int) []confine.Match {
	return []confine.Match{
		{{Index: flags, Mask: unix.O_TRUNC, Value: 0}},
		{{Index: flags, Mask: unix.O_ACCMODE, Value: unix.O_WRONLY}},
		{{Index: flags, Mask: unix.O_ACCMODE, Value: unix.O_RDWR}},
	}
}

// asm-generic/ioctls.h, the same on amd64 and arm64
const (
	fionread = 0x541b
	fionbio  = 0x5421
)

const sysFchmodat2 = 452 // Linux 6.6, the same number everywhere

// base is what the Go runtime needs on a thread that runs one goroutine, and
// what computing and files need. Not in it is what changes the whole process
// (working directory, mask, limits, identity), what reaches other processes,
// what makes sockets, and what Landlock does not check.
var base = plain(
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
	unix.SYS_CLOSE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_LSEEK, unix.SYS_PIPE2,
	unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2,
	unix.SYS_RECVFROM, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
	unix.SYS_FSTAT, fstatat, unix.SYS_STATX, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_STATFS, unix.SYS_FSTATFS,
	unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FLOCK, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_FADVISE64,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_MSYNC, unix.SYS_MINCORE,
	unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS, unix.SYS_SCHED_YIELD, unix.SYS_RESTART_SYSCALL, unix.SYS_MEMBARRIER,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_SIGALTSTACK,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_NANOSLEEP, unix.SYS_GETTIMEOFDAY,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_DELETE, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS,
	unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRUSAGE, unix.SYS_GETRLIMIT, unix.SYS_GETCPU, unix.SYS_GETRANDOM,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
)

var processCalls = plain(
	unix.SYS_CLONE, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_KILL, unix.SYS_TGKILL, unix.SYS_TKILL, unix.SYS_SETPGID, unix.SYS_SETSID, unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_CHDIR, unix.SYS_FCHDIR, unix.SYS_UMASK, unix.SYS_CLOSE_RANGE,
	unix.SYS_PRLIMIT64, unix.SYS_SETRLIMIT,
)

var socketCalls = plain(
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_SETSOCKOPT,
)

// tcpCalls are those for the ports that Landlock checks. Sending to an address
// would connect as well (TCP fast open), so there is no sendto with one.
var tcpCalls = func() []confine.Call {
	var tcp []confine.Match
	for _, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
		for _, protocol := range []uint32{0, unix.IPPROTO_TCP} {
			tcp = append(tcp, confine.Match{{Index: 0, Value: family}, {Index: 1, Mask: 0xf, Value: unix.SOCK_STREAM}, {Index: 2, Value: protocol}})
		}
	}
	return append(plain(unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_SETSOCKOPT),
		confine.Call{Nr: unix.SYS_SOCKET, When: tcp},
		confine.Call{Nr: unix.SYS_SENDTO, When: []confine.Match{{{Index: 4, Value: 0, Wide: true}}}})
}()

var metadataCalls = plain(
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
	sysFchmodat2,
)

// table is the allow-list of r on a kernel with Landlock of the given ABI, for
// a process with the given ID.
func (r *Rules) table(abi, pid int) *confine.Table {
	const cloneThread = unix.CLONE_THREAD | unix.CLONE_VM | unix.CLONE_SIGHAND
	t := &confine.Table{Missing: []uintptr{unix.SYS_CLONE3, unix.SYS_OPENAT2}} // their arguments are behind pointers: programs fall back
	add := func(calls ...confine.Call) { t.Allow = append(t.Allow, calls...) }
	add(base...)
	add(archBase...)
	add(confine.Call{Nr: unix.SYS_OPENAT, When: noBlindTruncation(2)},
		confine.Call{Nr: unix.SYS_FCNTL, When: oneOf(1, unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL,
			unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW, unix.F_GET_SEALS)},
		confine.Call{Nr: unix.SYS_IOCTL, When: oneOf(1, unix.TCGETS, fionread, fionbio, unix.TIOCGWINSZ)},
		confine.Call{Nr: unix.SYS_PRCTL, When: oneOf(0, unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_VMA)},
		confine.Call{Nr: unix.SYS_SCHED_GETAFFINITY})
	if abi >= 3 {
		add(plain(unix.SYS_TRUNCATE)...)
	}
	if r.Calls&Processes != 0 {
		add(processCalls...)
		add(archProcesses...)
	} else {
		add(
			// Threads of C libraries, which inherit everything. Go's are started elsewhere.
			confine.Call{Nr: unix.SYS_CLONE, When: []confine.Match{{{Index: 0, Mask: cloneThread | unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Value: cloneThread}}}},
			// Go's runtime interrupts its threads by signals.
			confine.Call{Nr: unix.SYS_TGKILL, When: oneOf(0, uint32(pid))},
			// Limits may be read.
			confine.Call{Nr: unix.SYS_PRLIMIT64, When: []confine.Match{{{Index: 0, Value: 0}, {Index: 2, Value: 0, Wide: true}}}})
	}
	switch {
	case r.Calls&Sockets != 0:
		add(socketCalls...)
	case len(r.Connect)+len(r.Bind) > 0:
		add(tcpCalls...)
	default:
		add(confine.Call{Nr: unix.SYS_SENDTO, When: []confine.Match{{{Index: 4, Value: 0, Wide: true}}}})
	}
	if r.Calls&Metadata != 0 {
		add(metadataCalls...)
		add(archMetadata...)
	}
	return t
}
