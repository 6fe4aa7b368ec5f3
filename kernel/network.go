package kernel

import "ward/image"

// A NetRule is a set of network addresses and ports.
type NetRule = image.NetRule

// Network says what a sandboxed process may do with the network. The zero
// value: nothing; it has an empty network namespace.
//
// A process that only gets sockets handed over stays in a namespace of its
// own, in which there is nothing. One that may connect, or binds sockets
// itself, is in the caller's, guarded by programs at its cgroup (connect,
// sendmsg, bind, listen, and what comes in), the system call allow-list
// (families and types of sockets, options), and Landlock (TCP ports to bind,
// where it may bind none itself).
type Network struct {
	Sockets []Socket  // made for it, in its cgroup, and handed over
	Connect []NetRule // where it may connect and send to
	Bind    []NetRule // what it may bind itself

	// Messages permits sendmsg, which can carry descriptors: only for a domain
	// that has no gates.
	Messages bool
	// Notify makes NotifyPath in its root, a socket that it may send to.
	Notify bool
}

// A Socket is one that is bound and handed over.
type Socket struct {
	Name  string // in LISTEN_FDNAMES
	Rule  NetRule
	Inode string // path of a Unix stream socket, instead
}

// host reports whether the process shares the caller's network namespace.
func (n *Network) host() bool { return len(n.Connect)+len(n.Bind) > 0 }

// Guarded reports whether a Guard is needed.
func (n *Network) Guarded() bool { return n.inet() }

// inet reports whether the process has anything to do with IP.
func (n *Network) inet() bool {
	if n.host() {
		return true
	}
	for _, s := range n.Sockets {
		if s.Inode == "" {
			return true
		}
	}
	return false
}

// receives returns the rules of what may come in: handed over or bound itself.
func (n *Network) receives() []NetRule {
	rules := append([]NetRule(nil), n.Bind...)
	for _, s := range n.Sockets {
		if s.Inode == "" {
			rules = append(rules, s.Rule)
		}
	}
	return rules
}

func anyUDP(rules []NetRule, udp bool) bool {
	for _, r := range rules {
		if r.UDP == udp {
			return true
		}
	}
	return false
}
