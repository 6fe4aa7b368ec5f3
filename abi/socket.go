package abi

import (
	"fmt"
	"net/netip"
)

// KindSocket marks a Record that is not about a message but about an address
// that a domain was refused. Its fields: From and To the domain, Method the
// port, Detail the SocketOp, Length the type of the socket (1 stream, 2
// datagram), Text the address as IPv6, 16 bytes. No message has this kind.
const KindSocket Kind = 0x80

// SocketOp is what a domain tried to do with an address.
type SocketOp uint32

const (
	SocketConnect SocketOp = iota + 1
	SocketSend
	SocketBind
	// SocketListen is listening where the domain was not let: without binding,
	// at an address of the kernel's choice. The socket listens, and nobody gets through to it.
	SocketListen
)

func (o SocketOp) String() string {
	switch o {
	case SocketConnect:
		return "connect"
	case SocketSend:
		return "send"
	case SocketBind:
		return "bind"
	case SocketListen:
		return "listen"
	}
	return "unknown"
}

// SocketAddress returns the address of a Record of KindSocket, as
// `connect` and `listen` of system.yaml write it.
func (r *Record) SocketAddress() string {
	addr, ok := netip.AddrFromSlice(r.Text)
	if r.Kind != KindSocket || !ok {
		return ""
	}
	proto := "tcp"
	if r.Length == 2 {
		proto = "udp"
	}
	if addr = addr.Unmap(); addr.Is6() {
		return fmt.Sprintf("%s:[%s]:%d", proto, addr, r.Method)
	}
	return fmt.Sprintf("%s:%s:%d", proto, addr, r.Method)
}
