package kernel

import "golang.org/x/sys/unix"

// GateCalls is the allow-list of a domain that shows nothing of the host: what
// a static Go program, or a C program of that kind, needs to compute, to use
// files that it was given, and to talk over gates that it was handed. What is
// left out on purpose, with the attack it stops: docs/decisions/0011.
var GateCalls = &CallTable{Allow: append(gateCalls, archCalls...), Missing: missing}

// HostCalls is the allow-list of a domain with `root: host`: besides, what
// dynamically linked programs, shells and interpreters need.
var HostCalls = &CallTable{
	Allow:   append(append(replace(gateCalls, hostForms), hostCalls...), append(archCalls, archHostCalls...)...),
	Missing: missing,
}

// missing are calls whose flags are behind a pointer, where a filter cannot
// see them; programs fall back to the older form.
var missing = []uintptr{unix.SYS_CLONE3, unix.SYS_OPENAT2, sysFchmodat2}

const sysFchmodat2 = 452 // Linux 6.6, the same number everywhere

// replace returns list with the entries of forms in place of those with the
// same number.
func replace(list, forms []Call) []Call {
	out := append([]Call(nil), list...)
	for _, f := range forms {
		for i := range out {
			if out[i].Nr == f.Nr {
				out[i] = f
			}
		}
	}
	return out
}

// anyArgs lists calls without conditions.
func anyArgs(nrs ...uintptr) []Call {
	var out []Call
	for _, nr := range nrs {
		out = append(out, Call{Nr: nr})
	}
	return out
}

// oneOf is true if the low word of an argument is one of values.
func oneOf(index int, values ...uint32) []Match {
	var out []Match
	for _, v := range values {
		out = append(out, Match{{Index: index, Value: v}})
	}
	return out
}

// asm-generic/ioctls.h, the same on amd64 and arm64
const (
	fionread = 0x541b
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
)

// noSetID is true if a file mode has neither the setuid nor the setgid bit.
func noSetID(mode int) []Match {
	return []Match{{{Index: mode, Mask: unix.S_ISUID | unix.S_ISGID, Value: 0}}}
}

// createNoSetID is the same for open, whose mode counts only if it creates.
func createNoSetID(flags, mode int) []Match {
	const creates = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
	return append(noSetID(mode), Match{{Index: flags, Mask: creates, Value: 0}})
}

// Flags of clone. The low byte is the signal at the end.
const (
	cloneThread     = unix.CLONE_THREAD | unix.CLONE_VM | unix.CLONE_SIGHAND
	cloneForbidden  = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PTRACE | unix.CLONE_UNTRACED | unix.CLONE_IO
	cloneForbidden2 = cloneForbidden | unix.CLONE_PARENT
)

// prctl options that only change or tell something about the caller and widen nothing.
var gatePrctl = []uint32{unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_VMA, unix.PR_GET_DUMPABLE, unix.PR_SET_DUMPABLE,
	unix.PR_SET_NO_NEW_PRIVS, unix.PR_GET_NO_NEW_PRIVS, unix.PR_SET_PDEATHSIG, unix.PR_GET_PDEATHSIG, unix.PR_CAPBSET_READ,
	unix.PR_SET_TIMERSLACK, unix.PR_GET_TIMERSLACK}

// advices are all of madvise but MADV_MERGEABLE, by which a program finds out
// whether another has the same page (the kernel merges them), and what tests
// of memory errors use.
var advices = []uint32{unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED, unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_REMOVE,
	unix.MADV_DONTFORK, unix.MADV_DOFORK, unix.MADV_UNMERGEABLE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
	unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE,
	unix.MADV_DONTNEED_LOCKED, unix.MADV_COLLAPSE, madvGuardInstall, madvGuardRemove}

// Linux 6.13, asm-generic/mman-common.h
const (
	madvGuardInstall = 102
	madvGuardRemove  = 103
)

var fcntls = []uint32{unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL,
	unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW, unix.F_GET_SEALS, unix.F_ADD_SEALS, unix.F_GETPIPE_SZ}

var gateCalls = func() []Call {
	calls := anyArgs(
		// Input and output on descriptors that it has.
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
		unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_LSEEK, unix.SYS_PIPE2,
		unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2,
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
		// Files: what is reachable is decided by the root and Landlock.
		unix.SYS_FSTAT, fstatat, unix.SYS_STATX, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR,
		unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK,
		unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FLOCK, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_FADVISE64,
		// Memory.
		unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MSYNC,
		// Threads, signals (its own PID namespace is all it can name), time.
		unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS, unix.SYS_SCHED_YIELD, unix.SYS_RESTART_SYSCALL,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_RT_SIGSUSPEND, unix.SYS_SIGALTSTACK, unix.SYS_SIGNALFD4,
		unix.SYS_KILL, unix.SYS_TGKILL, unix.SYS_TKILL,
		unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_NANOSLEEP, unix.SYS_GETTIMEOFDAY,
		unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER, unix.SYS_GETITIMER, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
		// What it is.
		unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRESUID, unix.SYS_GETRESGID, unix.SYS_GETGROUPS, unix.SYS_GETPGID, unix.SYS_GETSID,
		unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRUSAGE, unix.SYS_TIMES, unix.SYS_GETRLIMIT, unix.SYS_GETCPU, unix.SYS_GETRANDOM, unix.SYS_CAPGET,
		// Narrowing itself further.
		unix.SYS_SETRLIMIT, unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
		// The allow-list is installed before the program is executed. What may be
		// executed is decided by Landlock: nothing but the program itself.
		unix.SYS_EXECVEAT,
	)
	return append(calls,
		// No setuid and setgid files: with `as: root` they would be root's, for everybody on the host.
		Call{Nr: unix.SYS_FCHMOD, When: noSetID(1)},
		Call{Nr: unix.SYS_FCHMODAT, When: noSetID(2)},
		Call{Nr: unix.SYS_OPENAT, When: createNoSetID(2, 3)},
		// No huge pages of the host's pool, which are not charged to a domain's memory.
		Call{Nr: unix.SYS_MMAP, When: []Match{{{Index: 3, Mask: unix.MAP_HUGETLB, Value: 0}}}},
		Call{Nr: unix.SYS_MADVISE, When: oneOf(2, advices...)},
		// Threads, not processes; no namespaces.
		Call{Nr: unix.SYS_CLONE, When: []Match{{{Index: 0, Mask: cloneThread | cloneForbidden2, Value: cloneThread}}}},
		// No whiteouts, which are devices, and which Landlock does not judge (seen on 6.18).
		Call{Nr: unix.SYS_RENAMEAT2, When: []Match{{{Index: 4, Mask: unix.RENAME_WHITEOUT, Value: 0}}}},
		// No address: only over what is connected already.
		Call{Nr: unix.SYS_SENDTO, When: []Match{{{Index: 4, Value: 0, Wide: true}}}},
		// Time-outs only: buffers stay as they were made.
		Call{Nr: unix.SYS_SETSOCKOPT, When: []Match{
			{{Index: 1, Value: unix.SOL_SOCKET}, {Index: 2, Value: unix.SO_RCVTIMEO}},
			{{Index: 1, Value: unix.SOL_SOCKET}, {Index: 2, Value: unix.SO_SNDTIMEO}},
		}},
		// No F_SETOWN, F_SETSIG, F_NOTIFY, F_SETPIPE_SZ, F_SETLEASE.
		Call{Nr: unix.SYS_FCNTL, When: oneOf(1, fcntls...)},
		// No TIOCSTI, TIOCLINUX, TIOCSCTTY and no device's own.
		Call{Nr: unix.SYS_IOCTL, When: oneOf(1, unix.TCGETS, fionread, fionbio, fioclex, fionclex, unix.TIOCGWINSZ)},
		Call{Nr: unix.SYS_PRCTL, When: oneOf(0, gatePrctl...)},
		// A filter of its own on the calling thread, without a listener: it can
		// only refuse more (package thread).
		Call{Nr: unix.SYS_SECCOMP, When: []Match{{{Index: 0, Value: unix.SECCOMP_SET_MODE_FILTER}, {Index: 1, Value: 0}}}},
		Call{Nr: unix.SYS_PRLIMIT64, When: oneOf(0, 0)},
		Call{Nr: unix.SYS_SCHED_GETAFFINITY, When: oneOf(0, 0)},
	)
}()

// hostForms replace gate entries of the same call.
var hostForms = []Call{
	// Processes too, but no namespaces.
	{Nr: unix.SYS_CLONE, When: []Match{{{Index: 0, Mask: cloneForbidden2, Value: 0}}}},
	{Nr: unix.SYS_IOCTL, When: oneOf(1, unix.TCGETS, fionread, fionbio, fioclex, fionclex, unix.TIOCGWINSZ, unix.TIOCGPGRP, unix.FS_IOC_GETFLAGS)},
	{Nr: unix.SYS_PRCTL, When: oneOf(0, append(append([]uint32(nil), gatePrctl...), unix.PR_GET_SECCOMP, unix.PR_SET_CHILD_SUBREAPER, unix.PR_GET_CHILD_SUBREAPER, unix.PR_GET_KEEPCAPS, unix.PR_GET_SECUREBITS)...)},
}

var hostCalls = append(anyArgs(
	unix.SYS_EXECVE, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_SETPGID, unix.SYS_SETSID, unix.SYS_GETPRIORITY, unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_GETSCHEDULER, unix.SYS_SCHED_GET_PRIORITY_MAX, unix.SYS_SCHED_GET_PRIORITY_MIN,
	unix.SYS_MEMBARRIER, unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MUNLOCK, unix.SYS_MINCORE,
	unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR, unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR,
	unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_READAHEAD, unix.SYS_SYNC_FILE_RANGE,
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_FUTEX_WAITV,
),
	Call{Nr: unix.SYS_SCHED_SETAFFINITY, When: oneOf(0, 0)},
	// Memory that can never be executed as a file (Linux 6.3): what is executed
	// is on a mount that says so. Not of huge pages.
	Call{Nr: unix.SYS_MEMFD_CREATE, When: []Match{{{Index: 1, Mask: unix.MFD_NOEXEC_SEAL | unix.MFD_HUGETLB, Value: unix.MFD_NOEXEC_SEAL}}}},
)
