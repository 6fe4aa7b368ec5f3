package kernel

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// Offsets in struct bpf_sock_ops, and the event that is looked at
// (include/uapi/linux/bpf.h).
const (
	opsOp, opsReply, opsFamily = 0, 4, 20
	opsLocal4, opsLocal6       = 28, 48
	opsLocalPort               = 68 // host byte order
	opsListen                  = 11 // BPF_SOCK_OPS_TCP_LISTEN_CB
	opsAsksLast                = 7  // BPF_SOCK_OPS_BASE_RTT: no later one takes an answer
)

// listenProgram records sockets that are made to listen where no rule lets
// the domain: listen(2) on a TCP socket that is not bound takes a port of the
// kernel's choice, on every address, without asking a bind program
// (__inet_listen_sk, inet_csk_listen_start). No program can refuse it: the
// kernel calls this one after, and does not look at what it returns. That
// nobody reaches the socket is ingressProgram's.
func listenProgram(rules []NetRule, domain abi.DomainID, m guardMaps) asm.Instructions {
	p := &sockProgram{}
	p.emit(asm.Mov.Reg(asm.R6, asm.R1), asm.LoadMem(asm.R1, asm.R6, opsOp, asm.Word), asm.JEq.Imm32(asm.R1, opsListen, "listen"),
		// "No answer": with 0 the kernel would take it for one where it asks for time-outs and windows. Where it
		// does not ask, the answer is in the place of what programs of the host, which come after, are told.
		asm.JGT.Imm32(asm.R1, opsAsksLast, "allow"), asm.Mov.Imm(asm.R1, -1), asm.StoreMem(asm.R6, opsReply, asm.R1, asm.Word), asm.Ja.Label("allow"))
	p.emit(asm.Mov.Imm(asm.R8, unix.SOCK_STREAM).WithSymbol("listen"))
	p.emit(asm.LoadMem(asm.R7, asm.R6, opsLocalPort, asm.Word),
		asm.Mov.Imm(asm.R9, isIP4), asm.LoadMem(asm.R1, asm.R6, opsFamily, asm.Word), asm.JEq.Imm32(asm.R1, unix.AF_INET6, "six"))
	p.address4(opsLocal4)
	p.emit(asm.Ja.Label("rules"))
	p.place("six")
	p.address6(opsLocal6)
	p.place("rules")
	for _, r := range rules {
		p.rule(r)
	}
	p.record(domain, abi.SocketListen, m)
	p.emit(asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return())
	return p.Instructions
}
