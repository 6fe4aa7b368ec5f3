package abi

// DomainID is the index of a domain in its image. It is meaningful within one
// running system only.
type DomainID uint32

// NoDomain stands for "not a domain of this system": on a gate to a program
// outside Ward the client is a user.
const NoDomain DomainID = 0xffffffff

// NoPolicy stands for "no policy decided": default deny, or a check failed.
const NoPolicy uint32 = 0xffffffff

// Reason says why a message was admitted or denied. It is one byte on the
// verdict page and in audit records.
type Reason uint8

// Reasons. For ReasonPermit and ReasonForbid the detail is the index of the
// policy in the image. For the checks of a body it is the number of the field
// at fault (of the innermost message), 0 if no field can be named.
const (
	ReasonNone Reason = 0 // never written by a filter: the entry is empty

	// Decisions of the policy.
	ReasonPermit  Reason = 1 // admitted; a permit matched
	ReasonForbid  Reason = 2 // a forbid matched
	ReasonDefault Reason = 3 // no permit matched: default deny
	ReasonAdmit   Reason = 4 // admitted without a policy: cancel, stream end, error, opening of a client stream

	// Checks of the header.
	ReasonShort      Reason = 16 // shorter than a header
	ReasonVersion    Reason = 17
	ReasonKind       Reason = 18 // unknown, or not one that this side may send, or not one that this method has
	ReasonFlags      Reason = 19
	ReasonMethod     Reason = 20 // no such method in this interface
	ReasonLength     Reason = 21 // does not match the packet, or too large for this method
	ReasonDeadline   Reason = 22 // a reply with a deadline
	ReasonSlot       Reason = 23 // slot outside the call table
	ReasonSlotBusy   Reason = 24 // a call on a slot whose last call is still pending
	ReasonNoCall     Reason = 25 // no pending call with this slot, generation and method
	ReasonStreamDone Reason = 26 // a client's stream item after its end
	ReasonSender     Reason = 27 // the sender is not in the cgroup of the domain that owns this end
	ReasonClosed     Reason = 28 // the gate is revoked, or has no program
	ReasonRace       Reason = 29 // other messages changed the slot, or the state, again and again at the same time

	// Checks of the body.
	ReasonUnknownField Reason = 40
	ReasonWireType     Reason = 41 // not the field's, a group, or a reserved one
	ReasonVarint       Reason = 42 // longer than 10 bytes, overflowing, or not the shortest form
	ReasonWidth        Reason = 43 // does not fit its type: a uint32 of 2^32, an int32 that is not sign-extended, a bool of 2
	ReasonDuplicate    Reason = 44 // a second occurrence, or a second member of a oneof
	ReasonTruncated    Reason = 45 // a field reaches beyond its message
	ReasonUTF8         Reason = 46
	ReasonBounds       Reason = 47 // outside the bounds of its type: range, length, count, set, prefix, pattern
	ReasonRequired     Reason = 48 // a required field or oneof is missing
	ReasonTooDeep      Reason = 49
	ReasonTooMany      Reason = 50 // more fields in all than the filter walks
	ReasonEnum         Reason = 51 // a number that the enum does not define
	ReasonMetadata     Reason = 52 // the metadata section is malformed or too large

	// Effects of the permits that matched. None has taken place.
	ReasonRate  Reason = 64 // a bucket is empty; the detail on the verdict page is the time until it has a token, µs, in records it is the policy
	ReasonState Reason = 65 // a move that is not declared; the detail is the policy that would make it

	// The handle in the message is not the sender's to give, not now, not on this gate, not this
	// way, or not what it claims; the detail is the field of ward.v1.Handle that claims it.
	ReasonHandle Reason = 66

	// What a domain was lent.
	ReasonExpired Reason = 72 // the time of a child, or of a delegation, is over

	// Reasons of the monitor, never written by a filter.
	ReasonUnknownInterface Reason = 80 // no domain of the system exports it
	ReasonNotRunning       Reason = 81 // the server has not started, has ended, or does not serve the interface now
	ReasonQuota            Reason = 82 // too many gates
)

// Allowed reports whether r admits a message.
func (r Reason) Allowed() bool { return r == ReasonPermit || r == ReasonAdmit }

// A verdict page is an array of 64-bit words that only filters write and the
// domain maps read-only. It belongs to one domain; each of the domain's gate
// ends owns a block of PageBlock words of it:
//
//	word 0              the gate's status word: generation (bits 0-31, counted
//	                    up when the gate is revoked or its program swapped), bit 63: revoked
//	word 1              number of messages that were denied before their slot was known
//	words 2..           reserved, 0
//	word PageSlots+s    verdict of the last message sent from this end for slot s
const (
	PageBlock = 128 // words per gate end
	PageSlots = 64  // first slot word in a block
	// PageRevoked is set in the status word once a gate is revoked.
	PageRevoked = 1 << 63
)

// VerdictWord is the verdict of one message as it stands on a verdict page:
// generation of the call (bits 0-15), reason (bits 16-23), kind of the message
// (bits 24-31), detail (bits 32-63).
type VerdictWord uint64

// MakeVerdictWord composes a word.
func MakeVerdictWord(gen uint16, r Reason, k Kind, detail uint32) VerdictWord {
	return VerdictWord(uint64(gen) | uint64(r)<<16 | uint64(k)<<24 | uint64(detail)<<32)
}

func (v VerdictWord) Gen() uint16    { return uint16(v) }
func (v VerdictWord) Reason() Reason { return Reason(v >> 16) }
func (v VerdictWord) Kind() Kind     { return Kind(v >> 24) }
func (v VerdictWord) Detail() uint32 { return uint32(v >> 32) }
