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
)

// UnixSockets lists the inodes of all AF_UNIX sockets of this network
// namespace, also of those that are on their way to a receiver (sock_diag(7)).
// It is an error where the kernel has no CONFIG_UNIX_DIAG.
func UnixSockets() (map[uint64]bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	defer unix.Close(fd)
	le := binary.LittleEndian
	// struct nlmsghdr, then struct unix_diag_req: family, all states, no inode, no attributes.
	req := make([]byte, nlHeader+24)
	le.PutUint32(req, uint32(len(req)))
	le.PutUint16(req[4:], sockDiagByFamily)
	le.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[nlHeader] = unix.AF_UNIX
	le.PutUint32(req[nlHeader+4:], 0xffffffff)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	inodes := map[uint64]bool{}
	buf := make([]byte, nlRecvBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
		for b := buf[:n]; len(b) >= nlHeader; {
			size := int(le.Uint32(b))
			if size < nlHeader || size > len(b) {
				return nil, fmt.Errorf("sock_diag: malformed answer of the kernel")
			}
			switch le.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return inodes, nil
			case unix.NLMSG_ERROR:
				return nil, fmt.Errorf("sock_diag: the kernel refuses to list sockets (CONFIG_UNIX_DIAG)")
			case sockDiagByFamily:
				if size >= nlHeader+diagMessage {
					inodes[uint64(le.Uint32(b[nlHeader+diagInode:]))] = true
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
