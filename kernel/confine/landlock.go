package confine

import "golang.org/x/sys/unix"

// Rights that Landlock can refuse, by the ABI that brought them
// (include/uapi/linux/landlock.h).
const (
	landlockNet   = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	landlockScope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// Handled returns everything that a ruleset of the given ABI can handle:
// file rights, network rights, scopes. What is handled is refused unless a
// rule grants it. ABIs above 7 add rights that Ward does not handle yet.
func Handled(abi int) (files, net, scoped uint64) {
	files = 1<<13 - 1 // EXECUTE to MAKE_SYM
	if abi >= 2 {
		files |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		files |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		net = landlockNet
	}
	if abi >= 5 {
		files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		scoped = landlockScope
	}
	return files, net, scoped
}

// FileRights are those of a ruleset that make sense for what is no directory.
const FileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
	unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
