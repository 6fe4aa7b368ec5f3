package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// Offsets in struct bpf_sock_addr (include/uapi/linux/bpf.h).
const (
	ctxIP4  = 4
	ctxIP6  = 8
	ctxPort = 24 // network byte order in the low 16 bits
	ctxType = 32
)

// Stack of the programs: the address as IPv6 (IPv4 mapped), with the port
// behind it as the key of peers, then the record.
const (
	stackAddr   = -24 // 16 bytes
	stackPort   = -8  // 4 bytes, then 4 of 0
	stackKey    = stackAddr
	peerKey     = 24
	stackRecord = stackKey - abi.RecordSize
	stackIndex  = stackRecord - 8
)

// mapped is the third word of an IPv4-mapped IPv6 address, as a little-endian load sees it.
var mapped = int32(binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff}))

// What the program is to compare with, in R9.
const (
	isIP6 = 0
	isIP4 = 1
	isAny = 2 // 0.0.0.0 or ::, which the kernel takes for the loopback address: only "*" covers it
)

// maps of a guard that the programs use, by descriptor. peers is -1 if there are none.
type guardMaps struct{ seq, ring, peers int }

// A sockProgram makes the decision on one address: connect, sendmsg, bind or listen.
// Registers: R6 context, R7 port, R8 socket type, R9 kind of address.
type sockProgram struct {
	asm.Instructions
	labels int
}

func (p *sockProgram) emit(in ...asm.Instruction) { p.Instructions = append(p.Instructions, in...) }

func (p *sockProgram) label() string {
	p.labels++
	return fmt.Sprintf("l%d", p.labels)
}

// place makes the next instruction a jump target: a move of a register to itself.
func (p *sockProgram) place(l string) { p.emit(asm.Mov.Reg(asm.R9, asm.R9).WithSymbol(l)) }

// addressProgram returns the program that admits what rules cover, and where
// peers is set whoever has sent to a listening UDP socket before. It records what it refuses.
func addressProgram(six bool, rules []NetRule, domain abi.DomainID, op abi.SocketOp, m guardMaps) asm.Instructions {
	p := &sockProgram{}
	p.emit(asm.Mov.Reg(asm.R6, asm.R1), asm.LoadMem(asm.R8, asm.R6, ctxType, asm.Word))
	p.emit(asm.LoadMem(asm.R7, asm.R6, ctxPort, asm.Word), asm.HostTo(asm.BE, asm.R7, asm.Half))
	p.emit(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackPort, asm.R1, asm.DWord), asm.StoreMem(asm.RFP, stackPort, asm.R7, asm.Word))
	p.emit(asm.Mov.Imm(asm.R9, isIP4))
	if six {
		p.address6(ctxIP6)
	} else {
		p.address4(ctxIP4)
	}
	p.place("rules")
	for _, r := range rules {
		p.rule(r)
	}
	if m.peers >= 0 {
		p.emit(asm.JNE.Imm32(asm.R8, unix.SOCK_DGRAM, "deny"), asm.LoadMapPtr(asm.R1, m.peers), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackKey),
			asm.FnMapLookupElem.Call(), asm.JNE.Imm(asm.R0, 0, "allow"))
	}
	p.place("deny")
	p.record(domain, op, m)
	p.emit(asm.Mov.Imm(asm.R0, 0), asm.Return())
	if len(rules) > 0 || m.peers >= 0 { // the verifier refuses what nothing reaches
		p.emit(asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return())
	}
	return p.Instructions
}

// address4 puts the IPv4 address at an offset of the context on the stack, in
// IPv6 form, and goes on at rules. Before it R9 is isIP4.
func (p *sockProgram) address4(offset int16) {
	p.emit(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackAddr, asm.R1, asm.DWord),
		asm.Mov.Imm32(asm.R2, mapped), asm.StoreMem(asm.RFP, stackAddr+8, asm.R2, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, offset, asm.Word), asm.StoreMem(asm.RFP, stackAddr+12, asm.R1, asm.Word),
		asm.JNE.Imm32(asm.R1, 0, "rules"), asm.Mov.Imm(asm.R9, isAny))
}

// address6 does so with an IPv6 address.
func (p *sockProgram) address6(offset int16) {
	for i := range int16(4) {
		p.emit(asm.LoadMem(asm.R1, asm.R6, offset+4*i, asm.Word), asm.StoreMem(asm.RFP, stackAddr+4*i, asm.R1, asm.Word))
	}
	p.classify()
}

// classify tells IPv4 addresses in IPv6 form, and unspecified ones, from others.
func (p *sockProgram) classify() {
	word := func(i int16) { p.emit(asm.LoadMem(asm.R1, asm.RFP, stackAddr+4*i, asm.Word)) }
	p.emit(asm.Mov.Imm(asm.R9, isIP6))
	for i := range int16(2) {
		word(i)
		p.emit(asm.JNE.Imm32(asm.R1, 0, "rules"))
	}
	word(3)
	p.emit(asm.Mov.Reg(asm.R2, asm.R1))
	word(2)
	p.emit(asm.JEq.Imm32(asm.R1, 0, "zero"), asm.JNE.Imm32(asm.R1, mapped, "rules"), asm.Mov.Imm(asm.R9, isIP4),
		asm.JNE.Imm32(asm.R2, 0, "rules"), asm.Mov.Imm(asm.R9, isAny), asm.Ja.Label("rules"))
	p.place("zero")
	p.emit(asm.JNE.Imm32(asm.R2, 0, "rules"), asm.Mov.Imm(asm.R9, isAny))
}

// rule jumps to allow if r covers the address.
func (p *sockProgram) rule(r NetRule) {
	next := p.label()
	typ := int32(unix.SOCK_STREAM)
	if r.UDP {
		typ = unix.SOCK_DGRAM
	}
	p.emit(asm.JNE.Imm32(asm.R8, typ, next))
	if r.Port != 0 {
		p.emit(asm.JNE.Imm32(asm.R7, int32(r.Port), next))
	}
	if r.Prefix.IsValid() {
		kind, bits, first := int32(isIP6), r.Prefix.Bits(), int16(0)
		addr := r.Prefix.Addr().As16()
		if r.Prefix.Addr().Is4() {
			kind, first = isIP4, 3
		} else if bits == 128 && r.Prefix.Addr().IsUnspecified() {
			kind = isAny
		}
		if bits == 32 && kind == isIP4 && r.Prefix.Addr().IsUnspecified() {
			kind, bits, first = isAny, 64, 2 // not ::, which is every address of IPv6, too
		}
		p.emit(asm.JNE.Imm32(asm.R9, kind, next))
		p.matches(addr[4*first:], bits, stackAddr+4*first, next)
	}
	p.emit(asm.Ja.Label("allow"))
	p.place(next)
}

// matches jumps to next if the first bits of the address at an offset of the
// stack are not those of addr. It uses R2.
func (p *sockProgram) matches(addr []byte, bits int, at int16, next string) {
	for ; bits > 0; addr, bits, at = addr[4:], bits-32, at+4 {
		mask := make([]byte, 4)
		binary.BigEndian.PutUint32(mask, uint32(uint64(0xffffffff)<<(32-min(bits, 32))))
		p.emit(asm.LoadMem(asm.R2, asm.RFP, at, asm.Word))
		if bits < 32 {
			p.emit(asm.And.Imm32(asm.R2, int32(binary.NativeEndian.Uint32(mask))))
		}
		p.emit(asm.JNE.Imm32(asm.R2, int32(binary.NativeEndian.Uint32(addr)), next))
	}
}

// record writes what was refused into the ring, as an abi.Record of
// KindSocket. Its number is taken whether there is room or not, so that a gap
// is a loss.
func (p *sockProgram) record(domain abi.DomainID, op abi.SocketOp, m guardMaps) {
	at := func(off int16) int16 { return stackRecord + off }
	p.emit(asm.Mov.Imm(asm.R1, 0))
	for off := int16(0); off < abi.RecordSize; off += 8 {
		p.emit(asm.StoreMem(asm.RFP, at(off), asm.R1, asm.DWord))
	}
	put := func(off int16, v int64, size asm.Size) {
		p.emit(asm.LoadImm(asm.R1, v, asm.DWord), asm.StoreMem(asm.RFP, at(off), asm.R1, size))
	}
	put(20, int64(domain), asm.Word)
	put(24, int64(domain), asm.Word)
	put(28, 0xffffffff, asm.Word)
	p.emit(asm.StoreMem(asm.RFP, at(32), asm.R7, asm.Word))
	put(40, int64(abi.KindSocket), asm.Byte)
	put(42, int64(abi.ReasonDefault), asm.Byte)
	put(44, int64(op), asm.Word)
	p.emit(asm.StoreMem(asm.RFP, at(48), asm.R8, asm.Word))
	put(52, 16, asm.Word)
	for i := range int16(2) {
		p.emit(asm.LoadMem(asm.R1, asm.RFP, stackAddr+8*i, asm.DWord), asm.StoreMem(asm.RFP, at(128+8*i), asm.R1, asm.DWord))
	}
	p.emit(asm.FnKtimeGetBootNs.Call(), asm.StoreMem(asm.RFP, at(0), asm.R0, asm.DWord))
	add := asm.FetchAdd.Mem(asm.R0, asm.R1, asm.DWord, 0)
	add.Constant = 1 // BPF_ADD | BPF_FETCH: the package leaves it out
	p.emit(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, stackIndex, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.seq), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackIndex), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "written"), asm.Mov.Imm(asm.R1, 1), add, asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.RFP, at(8), asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.ring), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, stackRecord), asm.Mov.Imm(asm.R3, abi.RecordSize),
		asm.Mov.Imm(asm.R4, 0), asm.FnRingbufOutput.Call())
	p.place("written")
}
