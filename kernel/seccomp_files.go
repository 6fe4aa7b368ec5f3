package kernel

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ward/image"
)

// readsOnly reports whether the sandbox has the host's programs in view and
// may write nothing of the host's. Then Landlock and the allow-list share the
// work on truncation, so that an open costs less: see readRights.
func (s *Sandbox) readsOnly() bool {
	return s.Host && s.Without&WithSeccomp == 0 && !slices.ContainsFunc(s.Binds, func(b Bind) bool { return b.Access&image.Write != 0 })
}

// readRights are those that Landlock grants where s may read and not write,
// besides reading.
//
// With every open, Landlock asks what the file may later be truncated by
// (security/landlock/fs.c, hook_file_open), and while a rule grants reading
// but not that, it walks on, up to the root. Granted beside reading, the right
// ends the walk at the rule: a third less for an open (decision 0106). What
// it would permit is what noTruncation refuses.
func (s *Sandbox) readRights() uint64 {
	if s.readsOnly() {
		return unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	return 0
}

// noTruncation returns table without what empties a file other than by a
// descriptor that is open for writing, for which Landlock asks another right.
func noTruncation(table *CallTable) *CallTable {
	calls := slices.DeleteFunc(slices.Clone(table.Allow), func(c Call) bool { return c.Nr == unix.SYS_TRUNCATE })
	for i, c := range calls {
		if flags, ok := openFlags[c.Nr]; ok {
			calls[i].When = both(c.When, truncatesByWriting(flags))
		}
	}
	return &CallTable{Allow: calls, Missing: table.Missing}
}

// opensUnchecked reports whether the allow-list may leave the arguments of
// opens alone. The kernel then answers an open from the bitmap that it made
// when the filters were installed (seccomp_cache_check_allow, Linux 5.11), and
// runs neither this list nor wardd's above it: a hundredth of what nginx
// serves (decision 0159).
//
// What noTruncation and noSetID refuse by these arguments has two other walls
// here. Emptying a file that it may read: the mount is read-only, and the
// file's permissions refuse, as O_TRUNC asks for writing (build_open_flags,
// fs/open.c) and the file is not its own. Where what it was given is its own
// or anybody's to write, that wall is not there, and opens are looked at. A
// setuid file: it can make files in its /tmp only, which is mounted nosuid,
// nobody else's to see, and in which all is its own user's.
//
// Neither wall is there for a descriptor of another mount: somebody who may not
// write a file gives it, or a directory above, to the domain whose user may
// write it. So opens are looked at where descriptors can come from others.
func (b *builder) opensUnchecked(root *rootTree) (bool, error) {
	if root == nil || !b.readsOnly() || !b.has(WithIdentity) || singleUser() || b.Network.gifts() ||
		slices.ContainsFunc(b.Binds, func(b Bind) bool { return b.AsRoot }) {
		return false, nil
	}
	for _, m := range root.mounts {
		var st unix.Stat_t
		if err := unix.Fstat(m.fd, &st); err != nil {
			return false, fmt.Errorf("stat %s: %w", m.path, err)
		}
		if st.Uid == b.UID || st.Gid == b.GID || st.Mode&unix.S_IWOTH != 0 {
			return false, nil
		}
	}
	return true, nil
}

// gifts reports whether the process may be sent descriptors by others than
// Ward: on a gate (before Linux 6.16), by who connects to a Unix socket of its
// own, or on one that it gives a name itself, which takes bind(2), in the
// host's network namespace.
func (n *Network) gifts() bool {
	return !n.Messages || n.Notify && len(n.Bind) > 0 ||
		slices.ContainsFunc(n.Sockets, func(s Socket) bool { return s.Inode != "" })
}

// uncheckedOpens returns table with opens of any arguments.
func uncheckedOpens(table *CallTable) *CallTable {
	calls := slices.Clone(table.Allow)
	for i, c := range calls {
		if _, ok := openFlags[c.Nr]; ok {
			calls[i].When = nil
		}
	}
	return &CallTable{Allow: calls, Missing: table.Missing}
}

// truncatesByWriting is true if flags of an open do not truncate or open for
// writing. The fourth access mode (open(2), "ioctl only") opens for neither.
func truncatesByWriting(flags int) []Match {
	const mode = unix.O_ACCMODE
	return []Match{
		{{Index: flags, Mask: unix.O_TRUNC, Value: 0}},
		{{Index: flags, Mask: mode, Value: unix.O_WRONLY}},
		{{Index: flags, Mask: mode, Value: unix.O_RDWR}},
	}
}

// both is true if one of a and one of b are; no conditions are always true.
func both(a, b []Match) (when []Match) {
	if len(a) == 0 {
		return b
	}
	for _, y := range b {
		for _, x := range a {
			when = append(when, append(slices.Clone(x), y...))
		}
	}
	return when
}
