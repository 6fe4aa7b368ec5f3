// Package objects is the monitor's book of controlled objects: which instances
// there are, who has a reference to which, and what is offered at the end of
// which gate. It is pure: no system call, no lock, no clock; who may do what is
// the image's to say, and what passed the kernel's.
//
// Invariants (Store.Check):
//   - a reference is its owner's: by its number nobody else finds it. The owner
//     is one process of a domain, with which all of them end;
//   - an offer is of one end of one gate, and ends with the gate; who offered it
//     may have ended;
//   - rights only shrink on the way: an offer has no more than the reference it
//     was made by, and what is redeemed has those of the offer;
//   - of a sealed instance nobody is offered, or given, the right to write; what
//     is offered for reading is sealed;
//   - shared memory is opened by name, and not offered;
//   - of secret memory there is one reference at most, of who made it, and no offer;
//   - an instance without references and offers lingers: it counts until the
//     monitor has seen that nobody has it open, and abandons it. Nothing refers to
//     it again. Which ones linger every call says that may end a last use. A
//     shared one does neither linger nor end;
//   - everything is bounded: references of an owner, offers at an end, of a payer
//     and of a payer for one receiver, instances of an object and in all. What
//     exceeds a bound is refused and changes nothing.
//
// It imports package abi only.
package objects
