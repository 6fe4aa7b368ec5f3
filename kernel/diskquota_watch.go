package kernel

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// A DiskWatch tells when a project runs into its limits. The kernel says it to
// all who listen, in the first network namespace, if it is built so
// (CONFIG_QUOTA_NETLINK_INTERFACE): generic netlink, family VFS_DQUOT
// (fs/quota/netlink.c; linux/quota.h). ext4 says once that bytes, or files, are
// too many, until some are freed; a write that fails in its middle frees some.
//
// The watch has a socket of its own, with a filter: what floods it is lost to
// nobody else.
type DiskWatch struct {
	fd      int
	project uint32
	buf     [4096]byte
}

// Of linux/genetlink.h: GENL_ID_VFS_DQUOT is the number of the family, and of
// the group of its listeners. Both are fixed.
const dquotFamily = unix.NLMSG_MIN_TYPE + 1

// Of linux/quota.h.
const (
	dquotWarning  = 1 // QUOTA_NL_C_WARNING
	dquotType     = 1 // QUOTA_NL_A_QTYPE, u32
	dquotID       = 2 // QUOTA_NL_A_EXCESS_ID, u64
	dquotWhat     = 3 // QUOTA_NL_A_WARNING, u32
	dquotTooMany  = 1 // QUOTA_NL_IHARDWARN: of files
	dquotTooLarge = 4 // QUOTA_NL_BHARDWARN: of bytes
)

// maxDiskReads is how many messages one Read takes: more than wait in a socket.
const maxDiskReads = 1024

// WatchDisk listens for what is told of a project.
func WatchDisk(project uint32) (*DiskWatch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("socket for notices of disk quotas: %w", err)
	}
	prog := dquotFilter(project)
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, dquotFamily)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("notices of disk quotas: %w", err)
	}
	return &DiskWatch{fd: fd, project: project}, nil
}

// dquotFilter lets pass what begins as a notice of a project: two headers, then
// the kind of quota and the number, as attributes (quota_send_warning). Read
// looks at the rest.
func dquotFilter(project uint32) []unix.SockFilter {
	const kindAt, idAt = unix.SizeofNlMsghdr + 4 + 4, unix.SizeofNlMsghdr + 4 + 8 + 4
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], projects)
	binary.NativeEndian.PutUint32(b[4:], project)
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: load, K: kindAt},
		{Code: equal, K: binary.BigEndian.Uint32(b[:]), Jf: 3}, // loads are big endian
		{Code: load, K: idAt},
		{Code: equal, K: binary.BigEndian.Uint32(b[4:]), Jf: 1},
		{Code: ret, K: ^uint32(0)},
		{Code: ret, K: 0},
	}
}

// File becomes readable when there is something to read.
func (w *DiskWatch) File() int { return w.fd }

// Close ends the watch.
func (w *DiskWatch) Close() error { return unix.Close(w.fd) }

// Read returns how often it was told that files were not written or made, since
// the last time, without waiting. What was lost for want of room is not in it.
func (w *DiskWatch) Read() (count uint64, err error) {
	for range maxDiskReads {
		n, from, err := unix.Recvfrom(w.fd, w.buf[:], 0)
		switch {
		case err == unix.EAGAIN:
			return count, nil
		case err == unix.EINTR || err == unix.ENOBUFS:
			continue
		case err != nil:
			return count, fmt.Errorf("notices of disk quotas: %w", err)
		}
		// Everybody can send to this socket; the kernel is number 0.
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue
		}
		if project, ok := parseDquot(w.buf[:n]); ok && project == w.project {
			count++
		}
	}
	return count, nil
}

// parseDquot reads one message: struct nlmsghdr, struct genlmsghdr, attributes.
// It is ok if a project ran into a limit.
func parseDquot(b []byte) (project uint32, ok bool) {
	const head = unix.SizeofNlMsghdr + 4
	order := binary.NativeEndian
	if len(b) < head || order.Uint16(b[4:]) != dquotFamily || b[unix.SizeofNlMsghdr] != dquotWarning || uint64(order.Uint32(b)) > uint64(len(b)) {
		return 0, false
	}
	var kind, what uint32
	var id uint64
	for rest := b[head:max(int(order.Uint32(b)), head)]; len(rest) >= 4; {
		size, name := int(order.Uint16(rest)), order.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			return 0, false
		}
		value := rest[4:size]
		switch {
		case name == dquotType && len(value) == 4:
			kind = order.Uint32(value)
		case name == dquotWhat && len(value) == 4:
			what = order.Uint32(value)
		case name == dquotID && len(value) == 8:
			id = order.Uint64(value)
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return uint32(id), kind == projects && id>>32 == 0 && (what == dquotTooMany || what == dquotTooLarge)
}
