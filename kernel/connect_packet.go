package kernel

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Offsets in IP, TCP and UDP headers (RFC 791, 8200, 9293, 768), and the stack
// of the packet programs.
const (
	ip4Len, ip4Proto, ip4Src  = 20, 9, 12
	ip6Len, ip6Next, ip6Src   = 40, 6, 8
	ip4Dst, ip6Dst            = 16, 24
	portsLen, tcpFlags        = 4, 13
	flagSYN, flagACK          = 0x02, 0x10
	packetHead                = -80 // 40 bytes
	packetPorts               = -40 // source and destination, 4 bytes
	packetFlags               = -32 // 1 byte
	packetKey                 = -24 // as stackKey
	packetValue               = -88
	maxPeers                  = 4096 // senders of datagrams that a domain may answer; the oldest is forgotten
	protoTCP, protoUDP, icmp6 = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6
)

// Offsets in struct __sk_buff of where the linear part of the packet begins and
// ends (include/uapi/linux/bpf.h).
const skbData, skbDataEnd = 76, 80

// established lets segments of TCP pass that begin no connection, which are
// nearly all that a server gets: it looks at them where they are, with no call
// of the kernel. What has IP options or is not in one piece falls through, as
// does all else. Of TCP the kernel itself has both headers in one piece before
// it asks (tcp_v4_rcv, tcp_v6_rcv).
func (p *sockProgram) established() {
	p.emit(asm.LoadMem(asm.R2, asm.R1, skbData, asm.Word), asm.LoadMem(asm.R3, asm.R1, skbDataEnd, asm.Word))
	in := func(head, proto int32) { // R2 is at a header of IP, and TCP is right behind it
		p.emit(asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, head+tcpFlags+1), asm.JGT.Reg(asm.R4, asm.R3, "judge"),
			asm.LoadMem(asm.R4, asm.R2, int16(proto), asm.Byte), asm.JNE.Imm(asm.R4, protoTCP, "judge"),
			asm.LoadMem(asm.R4, asm.R2, int16(head+tcpFlags), asm.Byte), asm.And.Imm(asm.R4, flagSYN|flagACK), asm.JNE.Imm(asm.R4, flagSYN, "allow"))
	}
	p.emit(asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 1), asm.JGT.Reg(asm.R4, asm.R3, "judge"),
		asm.LoadMem(asm.R4, asm.R2, 0, asm.Byte), asm.JNE.Imm(asm.R4, 0x45, "not4"))
	in(ip4Len, ip4Proto)
	p.emit(asm.Ja.Label("judge"))
	p.emit(asm.RSh.Imm(asm.R4, 4).WithSymbol("not4"), asm.JNE.Imm(asm.R4, 6, "judge"))
	in(ip6Len, ip6Next)
	p.emit(asm.Mov.Reg(asm.R1, asm.R1).WithSymbol("judge"))
}

// plain lets packets pass that have an IP header and nothing but a known
// protocol behind it, as all do that the kernel makes of what a domain writes:
// it looks at them where they are, like established.
func (p *sockProgram) plain() {
	p.emit(asm.LoadMem(asm.R2, asm.R1, skbData, asm.Word), asm.LoadMem(asm.R3, asm.R1, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 1), asm.JGT.Reg(asm.R4, asm.R3, "judge"),
		asm.LoadMem(asm.R4, asm.R2, 0, asm.Byte), asm.JEq.Imm(asm.R4, 0x45, "allow"),
		asm.RSh.Imm(asm.R4, 4), asm.JNE.Imm(asm.R4, 6, "judge"),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, ip6Len), asm.JGT.Reg(asm.R4, asm.R3, "judge"),
		asm.LoadMem(asm.R4, asm.R2, ip6Next, asm.Byte))
	for _, proto := range []int32{protoTCP, protoUDP, icmp6} {
		p.emit(asm.JEq.Imm(asm.R4, proto, "allow"))
	}
	p.emit(asm.Mov.Reg(asm.R1, asm.R1).WithSymbol("judge"))
}

// packet starts a program on a packet, which begins with its IP header: R6 is
// the context, R7 the IP version, R8 the protocol behind the first header.
// Shorter packets than their header are let through: the kernel drops them.
func (p *sockProgram) packet() {
	p.emit(asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R9, 0))
	for off := int16(0); off < ip6Len; off += 8 { // the verifier does not remember which version has how much
		p.emit(asm.StoreMem(asm.RFP, packetHead+off, asm.R9, asm.DWord))
	}
	p.load(0, packetHead, ip4Len, "allow")
	p.emit(asm.LoadMem(asm.R7, asm.RFP, packetHead, asm.Byte), asm.RSh.Imm(asm.R7, 4), asm.JEq.Imm(asm.R7, 6, "six"),
		asm.LoadMem(asm.R8, asm.RFP, packetHead+ip4Proto, asm.Byte), asm.Ja.Label("head"))
	p.place("six")
	p.load(0, packetHead, ip6Len, "allow")
	p.emit(asm.LoadMem(asm.R8, asm.RFP, packetHead+ip6Next, asm.Byte))
	p.place("head")
}

// load copies n bytes of the packet at a constant offset to the stack.
func (p *sockProgram) load(offset int32, to int16, n int32, fail string) {
	p.emit(asm.Mov.Imm(asm.R2, offset))
	p.loadAt(to, n, fail)
}

// loadAt does so at the offset in R2.
func (p *sockProgram) loadAt(to int16, n int32, fail string) {
	p.emit(asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, int32(to)), asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, fail))
}

func (p *sockProgram) end() asm.Instructions {
	p.emit(asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return(), asm.Mov.Imm(asm.R0, 0).WithSymbol("drop"), asm.Return())
	return p.Instructions
}

// egressProgram drops packets with IP options or IPv6 extension headers, which
// can lead a packet elsewhere than to the address that was judged.
func egressProgram() asm.Instructions {
	p := &sockProgram{}
	p.plain()
	p.packet()
	p.emit(asm.JEq.Imm(asm.R7, 6, "next"), asm.LoadMem(asm.R1, asm.RFP, packetHead, asm.Byte), asm.JEq.Imm(asm.R1, 0x45, "allow"), asm.Ja.Label("drop"))
	p.place("next")
	for _, proto := range []int32{protoTCP, protoUDP, icmp6} {
		p.emit(asm.JEq.Imm(asm.R8, proto, "allow"))
	}
	p.emit(asm.Ja.Label("drop"))
	return p.end()
}

// ingressProgram drops new TCP connections to other addresses and ports than
// rules name (a socket that is made to listen without being bound gets a port
// of the kernel's choice on every address, which no bind program sees), and
// notes who sends datagrams to one of them: that is whom the domain may answer.
func ingressProgram(rules []NetRule, m guardMaps) asm.Instructions {
	p := &sockProgram{}
	p.established()
	p.packet()
	p.emit(asm.Mov.Imm(asm.R2, ip6Len), asm.JEq.Imm(asm.R7, 6, "ports"),
		asm.LoadMem(asm.R2, asm.RFP, packetHead, asm.Byte), asm.And.Imm(asm.R2, 15), asm.LSh.Imm(asm.R2, 2))
	p.place("ports")
	p.emit(asm.JEq.Imm(asm.R8, protoUDP, "known"), asm.JNE.Imm(asm.R8, protoTCP, "drop"))
	p.place("known")
	p.emit(asm.Mov.Reg(asm.R9, asm.R2))
	p.loadAt(packetPorts, portsLen, "allow")
	p.emit(asm.JEq.Imm(asm.R8, protoUDP, "udp"), asm.Mov.Reg(asm.R2, asm.R9), asm.Add.Imm(asm.R2, tcpFlags))
	p.loadAt(packetFlags, 1, "allow")
	p.emit(asm.LoadMem(asm.R1, asm.RFP, packetFlags, asm.Byte), asm.And.Imm(asm.R1, flagSYN|flagACK), asm.JNE.Imm(asm.R1, flagSYN, "allow"))
	p.destination(rules, false, "allow")
	p.emit(asm.Ja.Label("drop"))
	p.place("udp")
	if m.peers >= 0 {
		p.destination(rules, true, "note")
		p.emit(asm.Ja.Label("allow"))
		p.place("note")
		p.note(m.peers)
	}
	return p.end()
}

// destination jumps to found if the packet is for an address and port of rules.
func (p *sockProgram) destination(rules []NetRule, udp bool, found string) {
	p.emit(asm.LoadMem(asm.R1, asm.RFP, packetPorts+2, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half))
	for _, r := range rules {
		if r.UDP != udp {
			continue
		}
		next := p.label()
		if r.Port != 0 {
			p.emit(asm.JNE.Imm32(asm.R1, int32(r.Port), next))
		}
		p.within(r.Prefix, next)
		p.emit(asm.Ja.Label(found))
		p.place(next)
	}
}

// within jumps to next if a socket that is bound as prefix says gets no
// packets for the destination. One that is bound to :: may get those of IPv4, too.
func (p *sockProgram) within(prefix netip.Prefix, next string) {
	addr, bits := prefix.Addr(), prefix.Bits()
	every := !prefix.IsValid() || prefix.IsSingleIP() && addr.IsUnspecified()
	switch {
	case every && addr.Is4():
		p.emit(asm.JEq.Imm(asm.R7, 6, next))
	case every:
	case addr.Is4():
		a := addr.As4()
		p.emit(asm.JEq.Imm(asm.R7, 6, next))
		p.matches(a[:], bits, packetHead+ip4Dst, next)
	default:
		a := addr.As16()
		p.emit(asm.JNE.Imm(asm.R7, 6, next))
		p.matches(a[:], bits, packetHead+ip6Dst, next)
	}
}

// note puts the sender into peers, if it is not in there: to look takes a fraction of the time.
func (p *sockProgram) note(peers int) {
	p.emit(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, packetKey, asm.R1, asm.DWord), asm.StoreMem(asm.RFP, packetKey+16, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, packetValue, asm.R1, asm.DWord), asm.JEq.Imm(asm.R7, 6, "source6"),
		asm.Mov.Imm32(asm.R1, int32(binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff}))), asm.StoreMem(asm.RFP, packetKey+8, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, packetHead+ip4Src, asm.Word), asm.StoreMem(asm.RFP, packetKey+12, asm.R1, asm.Word), asm.Ja.Label("source"))
	p.place("source6")
	for i := range int16(4) {
		p.emit(asm.LoadMem(asm.R1, asm.RFP, packetHead+ip6Src+4*i, asm.Word), asm.StoreMem(asm.RFP, packetKey+4*i, asm.R1, asm.Word))
	}
	p.place("source")
	p.emit(asm.LoadMem(asm.R1, asm.RFP, packetPorts, asm.Half), asm.HostTo(asm.BE, asm.R1, asm.Half), asm.StoreMem(asm.RFP, packetKey+16, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, peers), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, packetKey), asm.FnMapLookupElem.Call(), asm.JNE.Imm(asm.R0, 0, "allow"),
		asm.LoadMapPtr(asm.R1, peers), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, packetKey), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, packetValue),
		asm.Mov.Imm(asm.R4, 0), asm.FnMapUpdateElem.Call())
}
