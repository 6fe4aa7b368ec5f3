package kernel

import "golang.org/x/sys/unix"

// netCalls returns table with the calls that n needs besides.
//
// What a domain with gates must not get, because a filter cannot tell a gate's
// descriptor from a socket's: sendmsg (descriptors, and a commit of the gate's
// filter for what is then refused), bind (names), buffer sizes. A domain
// without gates (Network.Messages) may have them: what it holds of Ward is one
// end of its control channel, which takes no descriptors and is bound already.
func netCalls(table *CallTable, n *Network, host bool) *CallTable {
	if !n.inet() && len(n.Sockets) == 0 && !n.Notify {
		return table
	}
	calls := append([]Call(nil), table.Allow...)
	add := func(c ...Call) { calls = append(calls, c...) }
	forms := []Call{{Nr: unix.SYS_SETSOCKOPT, When: append(timeouts(), n.options()...)}}
	if len(n.Sockets)+len(n.Bind) > 0 {
		add(anyArgs(unix.SYS_ACCEPT4)...)
		add(archAccept...)
	}
	if when := n.sockets(); len(when) > 0 {
		add(Call{Nr: unix.SYS_SOCKET, When: when})
		add(anyArgs(unix.SYS_CONNECT)...)
	}
	if len(n.Bind) > 0 {
		add(anyArgs(unix.SYS_BIND, unix.SYS_LISTEN)...)
	}
	if anyUDP(n.Connect, true) || anyUDP(n.receives(), true) || n.Notify {
		forms = append(forms, Call{Nr: unix.SYS_SENDTO}) // with an address: on a gate it is ignored (unix_seqpacket_sendmsg)
	}
	if n.Messages {
		add(anyArgs(unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG)...)
		if host {
			// Between a daemon's own processes. Not datagram sockets, which can be
			// connected elsewhere again.
			add(Call{Nr: unix.SYS_SOCKETPAIR, When: sockType(unix.AF_UNIX, unix.SOCK_STREAM, 0)})
			forms = append(forms, daemonForms...)
		}
	}
	return &CallTable{Allow: replace(calls, forms), Missing: table.Missing}
}

// sockets lists the families and types that may be made.
func (n *Network) sockets() (when []Match) {
	if n.host() {
		rules := append(append([]NetRule(nil), n.Connect...), n.Bind...)
		for _, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
			// No MPTCP, SCTP, UDP-Lite, ICMP: their own protocol numbers.
			if anyUDP(rules, false) {
				when = append(when, sockType(family, unix.SOCK_STREAM, unix.IPPROTO_TCP)...)
			}
			if anyUDP(rules, true) {
				when = append(when, sockType(family, unix.SOCK_DGRAM, unix.IPPROTO_UDP)...)
			}
		}
	}
	if n.Notify {
		when = append(when, sockType(unix.AF_UNIX, unix.SOCK_DGRAM, 0)...)
	}
	return when
}

// sockType is true for sockets of a family and type, with the protocol given or 0.
func sockType(family, typ, proto uint32) []Match {
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	when := []Match{{{Index: 0, Value: family}, {Index: 1, Mask: ^uint32(flags), Value: typ}, {Index: 2, Value: 0}}}
	if proto != 0 {
		when = append(when, Match{{Index: 0, Value: family}, {Index: 1, Mask: ^uint32(flags), Value: typ}, {Index: 2, Value: proto}})
	}
	return when
}

func timeouts() []Match {
	return option(unix.SOL_SOCKET, unix.SO_RCVTIMEO, unix.SO_SNDTIMEO)
}

// option is true for some options of a level.
func option(level uint32, names ...uint32) (when []Match) {
	for _, name := range names {
		when = append(when, Match{{Index: 1, Value: level}, {Index: 2, Value: name}})
	}
	return when
}

// options lists what may be set on sockets: nothing that leads packets
// elsewhere (IP_OPTIONS, IPV6_RTHDR, SO_BINDTODEVICE), attaches programs, joins
// groups, or passes descriptors.
func (n *Network) options() []Match {
	when := option(unix.SOL_SOCKET, unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_KEEPALIVE, unix.SO_LINGER, unix.SO_BROADCAST)
	when = append(when, option(unix.IPPROTO_TCP, unix.TCP_NODELAY, unix.TCP_CORK, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT,
		unix.TCP_DEFER_ACCEPT, unix.TCP_QUICKACK, unix.TCP_USER_TIMEOUT, unix.TCP_FASTOPEN, unix.TCP_NOTSENT_LOWAT)...)
	when = append(when, option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, unix.IPV6_RECVPKTINFO, unix.IPV6_RECVERR, unix.IPV6_MTU_DISCOVER)...)
	when = append(when, option(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.IP_RECVERR, unix.IP_TOS, unix.IP_MTU_DISCOVER)...)
	if n.Messages {
		when = append(when, option(unix.SOL_SOCKET, unix.SO_RCVBUF, unix.SO_SNDBUF)...)
	}
	return when
}

// daemonForms replace entries for a host program with sockets and without
// gates. FIOASYNC and F_SETOWN: nginx sets them between its processes, whom
// alone it can name; a signal's owner is checked as its sender is (fs/fcntl.c, sigio_perm).
var daemonForms = []Call{
	{Nr: unix.SYS_IOCTL, When: oneOf(1, unix.TCGETS, fionread, fionbio, fioclex, fionclex, unix.TIOCGWINSZ, unix.TIOCGPGRP, unix.FS_IOC_GETFLAGS, fioasync)},
	{Nr: unix.SYS_FCNTL, When: oneOf(1, append([]uint32{unix.F_SETOWN}, fcntls...)...)},
}

const fioasync = 0x5452
