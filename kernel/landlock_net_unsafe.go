package kernel

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const landlockRuleNetPort = 2 // enum landlock_rule_type of linux/landlock.h

// landlockPorts returns which of the network rights are to be handled for n.
//
// Connecting is not, where the programs at the cgroup judge it: Landlock comes
// before them (security_socket_connect), knows ports only, and tells nobody
// what it refused; they know addresses, and record it
// (docs/decisions/0060-network-of-domains.md).
func landlockPorts(net uint64, n *Network) uint64 {
	if n.host() {
		net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	for _, r := range n.Bind {
		if !r.UDP && r.Port == 0 {
			net &^= unix.LANDLOCK_ACCESS_NET_BIND_TCP
		}
	}
	return net
}

// landlockNetRules grants the TCP ports that n may bind itself, if that is handled.
func landlockNetRules(set int, net uint64, n *Network) error {
	if net&unix.LANDLOCK_ACCESS_NET_BIND_TCP == 0 {
		return nil
	}
	for _, r := range n.Bind {
		if r.UDP {
			continue
		}
		rule := &[2]uint64{unix.LANDLOCK_ACCESS_NET_BIND_TCP, uint64(r.Port)} // struct landlock_net_port_attr
		_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), landlockRuleNetPort, uintptr(unsafe.Pointer(rule)), 0, 0, 0)
		if e != 0 {
			return fmt.Errorf("landlock rule for %s: %w", r, e)
		}
	}
	return nil
}
