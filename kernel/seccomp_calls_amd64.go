package kernel

import "golang.org/x/sys/unix"

const fstatat = unix.SYS_NEWFSTATAT

// archCalls are calls that only this architecture has: older forms of what
// the common table allows, and the thread pointer.
var archCalls = append(anyArgs(
	unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_WAIT, unix.SYS_DUP2, unix.SYS_PIPE, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_READLINK,
	unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_TIME, unix.SYS_GETPGRP, unix.SYS_PAUSE, unix.SYS_ALARM,
),
	Call{Nr: unix.SYS_OPEN, When: createNoSetID(1, 2)},
	Call{Nr: unix.SYS_CHMOD, When: noSetID(1)},
	Call{Nr: unix.SYS_ARCH_PRCTL, When: oneOf(0, 0x1002, 0x1003)}, // ARCH_SET_FS, ARCH_GET_FS
)

// openFlags are the calls that open files, with the index of their flags.
// creat always opens for writing.
var openFlags = map[uintptr]int{unix.SYS_OPENAT: 2, unix.SYS_OPEN: 1}

// archAccept are older forms of accept4.
var archAccept = anyArgs(unix.SYS_ACCEPT)

var archHostCalls = append(anyArgs(
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_GETDENTS, unix.SYS_EPOLL_CREATE, unix.SYS_EVENTFD, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_CHOWN, unix.SYS_LCHOWN,
), Call{Nr: unix.SYS_CREAT, When: noSetID(1)})
