package kernel

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const landlockRuleNetPort = 2 // enum landlock_rule_type of linux/landlock.h

// landlockPorts returns which of the network rights are to be handled for n: one that
// some rule grants for every port is left to the programs at the cgroup.
func landlockPorts(net uint64, n *Network) uint64 {
	every := func(rules []NetRule) bool {
		for _, r := range rules {
			if !r.UDP && r.Port == 0 {
				return true
			}
		}
		return false
	}
	if every(n.Connect) {
		net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if every(n.Bind) {
		net &^= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	return net
}

// landlockNetRules grants the TCP ports of n, as far as net is handled. The
// addresses are the cgroup programs' to judge.
func landlockNetRules(set int, net uint64, n *Network) error {
	grant := func(right uint64, rules []NetRule) error {
		if net&right == 0 {
			return nil
		}
		for _, r := range rules {
			if r.UDP {
				continue
			}
			rule := &[2]uint64{right, uint64(r.Port)} // struct landlock_net_port_attr
			_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), landlockRuleNetPort, uintptr(unsafe.Pointer(rule)), 0, 0, 0)
			if e != 0 {
				return fmt.Errorf("landlock rule for %s: %w", r, e)
			}
		}
		return nil
	}
	if err := grant(unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, n.Connect); err != nil {
		return err
	}
	return grant(unix.LANDLOCK_ACCESS_NET_BIND_TCP, n.Bind)
}
