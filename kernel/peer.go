package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Peer is who connected to a listening socket, as the kernel noted it when
// it did (unix(7)). On a socket pair it would name the pair's maker: never ask there.
type Peer struct {
	UID, GID, PID uint32   // effective IDs; PID in the caller's namespace, 0 if it is not visible there
	Groups        []uint32 // supplementary groups
	Pidfd         *os.File // the process itself, whatever becomes of its PID; nil before Linux 6.5. The caller closes it.
}

// PeerOf asks for the peer of a connected AF_UNIX socket. An error says that
// the peer is gone, or is not one that has credentials.
func PeerOf(fd int) (Peer, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	if c.Uid == ^uint32(0) {
		return Peer{}, errors.New("SO_PEERCRED: the socket is not connected")
	}
	p := Peer{UID: c.Uid, GID: c.Gid, PID: uint32(c.Pid)}
	if p.Groups, err = peerGroups(fd); err != nil {
		return Peer{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		unix.CloseOnExec(pidfd)
		p.Pidfd = os.NewFile(uintptr(pidfd), "pidfd of a peer")
	case errors.Is(err, unix.ENOPROTOOPT): // before Linux 6.5
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
		return Peer{}, fmt.Errorf("SO_PEERPIDFD: the peer has ended: %w", err)
	default:
		return Peer{}, fmt.Errorf("SO_PEERPIDFD: %w", err)
	}
	return p, nil
}
