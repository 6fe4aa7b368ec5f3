// Package filter turns the intermediate form of a route's policy into what a
// gate's filter consists of: the tables that drive the walk over a message's
// body, and the instructions of the decision.
//
// The walk itself is C, in bpf/gate.bpf.c, compiled once and committed as
// Object; only decide (the policy) and check (rules on strings) are generated.
//
// Invariants:
//   - pure and deterministic: the same image and atoms give the same tables and instructions; it never looks at the machine;
//   - imports the standard library without os, net, syscall or unsafe, the
//     packages abi and image, and the instruction types of cilium/ebpf/asm;
//   - bounded: what would exceed a limit of the kernel's filter (tables.go) is an error that names it.
package filter
