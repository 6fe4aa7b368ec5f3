package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ward/image"
	"ward/kernel/confine"
)

// What Landlock can refuse, by the ABI that brought it
// (include/uapi/linux/landlock.h).
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	// what a directory may additionally be granted for changing what is in it;
	// never sockets and devices
	landlockMake = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
)

// landlockHandled returns what a ruleset of the given ABI handles: file
// rights, network rights, scopes.
func landlockHandled(abi int) (fs, net, scope uint64) { return confine.Handled(abi) }

// landlockRights translates the access of a bind. A file can only be granted
// what makes sense for a file.
func landlockRights(a image.Access, dir bool) uint64 {
	var r uint64
	if a&image.Read != 0 {
		r |= landlockRead
		if dir {
			r |= unix.LANDLOCK_ACCESS_FS_READ_DIR
		}
	}
	if a&image.Write != 0 {
		r |= landlockWrite | unix.LANDLOCK_ACCESS_FS_TRUNCATE
		if dir {
			r |= landlockMake
		}
	}
	if a&image.Execute != 0 {
		r |= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	return r
}

// landlockPorts returns which of the network rights are to be handled for n:
// all of which it needs none.
//
// What the programs at the cgroup judge is left to them: Landlock comes before
// them (security_socket_connect, security_socket_bind), knows ports of TCP
// only, and tells nobody what it refused; they know addresses, and record it
// (docs/decisions/0060-network-of-domains.md, 0142-refused-binds.md).
func landlockPorts(net uint64, n *Network) uint64 {
	if n.host() {
		net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if len(n.Bind) > 0 {
		net &^= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	return net
}

// newRuleset makes the Landlock ruleset of a root: exactly what its mounts
// grant, with extra where they may be read, /tmp and /dev. It refuses to do less than the ABI offers. A rule holds
// for what is below its place too, mounts included: a bind inside another one, or
// inside /tmp, has that one's rights as well, as far as its own mount's flags
// allow.
func newRuleset(abi int, r *rootTree, n *Network, extra uint64) (int, error) {
	fs, net, scope := landlockHandled(abi)
	set, err := landlockCreate(fs, landlockPorts(net, n), scope)
	if err != nil {
		return -1, fmt.Errorf("landlock ruleset: %w", err)
	}
	add := func(fd int, rights uint64) error { return landlockAllow(set, fd, rights&fs) }
	for _, m := range r.mounts {
		rights := landlockRights(m.access, m.dir)
		if m.access&image.Read != 0 {
			rights |= extra
		}
		if err := add(m.fd, rights); err != nil {
			unix.Close(set)
			return -1, fmt.Errorf("landlock rule for %s: %w", m.path, err)
		}
	}
	for name, rights := range map[string]uint64{
		"tmp": landlockRights(image.Read|image.Write, true),
		"dev": landlockRead | landlockWrite,
	} {
		fd, err := unix.Openat(r.top, name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			err = add(fd, rights)
			unix.Close(fd)
		}
		if err != nil {
			unix.Close(set)
			return -1, fmt.Errorf("landlock rule for /%s: %w", name, err)
		}
	}
	return set, nil
}
