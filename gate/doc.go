// Package gate is Ward's library for programs: clients call through a gate,
// servers answer on theirs. It carries messages; what may pass is decided by
// the kernel, where the sender learns it; for a system of an ordinary user the
// receiver's library decides the rest (check.go).
//
// A program started by Ward gets its rights from Self; one outside Ward
// connects with DialSocket. Package gate/grpcgate puts generated gRPC code on
// top.
//
// Shape. There is no goroutine that only moves messages. Of the callers that
// wait on a client's gate one leads: it reads the socket with a blocking
// system call, on its own goroutine, and hands the others what is theirs; when
// it has its own reply, another one leads. On a server's gate several readers
// block in the same system call, the kernel wakes one of them for each
// message, and the handler runs on the reader that read the call.
//
// Invariants:
//   - whoever reads a gate never waits for anything but the gate: items of a
//     stream that nobody takes hold up their sender (abi.KindCredit), not the
//     reader;
//   - a server's gate has an idle reader as long as it is open;
//   - a slot of the call table is used again only after the last message of
//     its call has arrived;
//   - sends for one slot do not overlap, so each finds its own verdict;
//   - what arrives is dropped once the gate's status word says that the gate
//     is revoked;
//   - at the level `library` nobody sees a message that its Check does not admit;
//   - memory is mapped only if its descriptor is one of memory, of just the size
//     and with just the rights that the monitor says, and its size is sealed: it
//     never faults within its size;
//   - no unsafe code; of this module it imports abi, image, policy/eval,
//     kernel/packet and kernel/page only.
//
// Lock order: Client.mu and serverGate.mu are never held across a system call
// or together; a stream's send lock is taken before them. Memory.mu is taken
// last, and held while the memory is mapped and unmapped.
package gate
