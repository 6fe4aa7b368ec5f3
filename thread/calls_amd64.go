package thread

import (
	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

const fstatat = unix.SYS_NEWFSTATAT

// Older forms of what the common lists allow, and the thread pointer.
var (
	archBase = append(plain(
		unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_WAIT, unix.SYS_DUP2, unix.SYS_PIPE, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_READLINK,
		unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_CREAT, unix.SYS_TIME, unix.SYS_PAUSE,
	),
		confine.Call{Nr: unix.SYS_OPEN, When: noBlindTruncation(1)},
		confine.Call{Nr: unix.SYS_ARCH_PRCTL, When: oneOf(0, 0x1002, 0x1003)}) // ARCH_SET_FS, ARCH_GET_FS
	archProcesses = plain(unix.SYS_FORK, unix.SYS_VFORK)
	archMetadata  = plain(unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT)
)
