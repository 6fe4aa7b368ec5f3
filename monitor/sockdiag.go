package monitor

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Sizes and offsets of linux/netlink.h and linux/unix_diag.h.
const (
	sockDiagByFamily = 20
	nlHeader         = 16
	diagInode        = 4 // in struct unix_diag_msg, a uint32
	diagMessage      = 16
	nlRecvBuffer     = 32 << 10
	diagShowMemory   = 0x20 // UDIAG_SHOW_MEMINFO
	diagMemory       = 5    // UNIX_DIAG_MEMINFO
	attrHeader       = 4    // struct nlattr: length, type
)

// UnixSockets lists the inodes of all AF_UNIX sockets of this network
// namespace, also of those that are on their way to a receiver (sock_diag(7)).
// It is an error where the kernel has no CONFIG_UNIX_DIAG.
func UnixSockets() (map[uint64]bool, error) {
	inodes := map[uint64]bool{}
	err := eachUnixSocket(0, func(inode uint64, _ []byte) { inodes[inode] = true })
	return inodes, err
}

// UnixQueues says of all these sockets how much each has sent that was not read yet.
func UnixQueues() (map[uint64]Queue, error) {
	queues := map[uint64]Queue{}
	err := eachUnixSocket(diagShowMemory, func(inode uint64, attributes []byte) {
		if q, ok := queueOf(attributes); ok {
			queues[inode] = q
		}
	})
	return queues, err
}

// queueOf finds the attribute UNIX_DIAG_MEMINFO: an array of uint32 (sk_get_meminfo, net/core/sock.c).
func queueOf(attributes []byte) (Queue, bool) {
	for b := attributes; len(b) >= attrHeader; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeader || size > len(b) {
			break
		}
		if values := b[attrHeader:size]; binary.NativeEndian.Uint16(b[2:]) == diagMemory && len(values) >= 4*(unix.SK_MEMINFO_SNDBUF+1) {
			value := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(values[4*i:])) }
			return Queue{Used: value(unix.SK_MEMINFO_WMEM_ALLOC), Limit: value(unix.SK_MEMINFO_SNDBUF)}, true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return Queue{}, false
}

// eachUnixSocket calls each with the inode of every socket and the attributes that
// were asked for.
func eachUnixSocket(show uint32, each func(inode uint64, attributes []byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	defer unix.Close(fd)
	le := binary.LittleEndian
	// struct nlmsghdr, then struct unix_diag_req: family, all states, no inode, attributes.
	req := make([]byte, nlHeader+24)
	le.PutUint32(req, uint32(len(req)))
	le.PutUint16(req[4:], sockDiagByFamily)
	le.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[nlHeader] = unix.AF_UNIX
	le.PutUint32(req[nlHeader+4:], 0xffffffff)
	le.PutUint32(req[nlHeader+12:], show)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	buf := make([]byte, nlRecvBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("sock_diag: %w", err)
		}
		for b := buf[:n]; len(b) >= nlHeader; {
			size := int(le.Uint32(b))
			if size < nlHeader || size > len(b) {
				return fmt.Errorf("sock_diag: malformed answer of the kernel")
			}
			switch le.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return fmt.Errorf("sock_diag: the kernel refuses to list sockets (CONFIG_UNIX_DIAG)")
			case sockDiagByFamily:
				if size >= nlHeader+diagMessage {
					each(uint64(le.Uint32(b[nlHeader+diagInode:])), b[nlHeader+diagMessage:size])
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
