package objects

import (
	"fmt"

	"ward/abi"
)

// Bounds of what is open at a time. The image bounds instances of each object.
const (
	MaxReferences      = 64   // of one owner
	MaxOffers          = 64   // at one end of a gate
	MaxOffersOf        = 256  // of one payer, at all its gates together …
	MaxOffersTo        = 64   // … and for one receiver: what that does not redeem leaves the payer the rest
	MaxInstances       = 2048 // in a system: each is a descriptor of the monitor and of the holder (Store.Limit)
	MaxReferencesInAll = 1 << 14
)

// An Owner is a process of a domain. Its number is not used twice in a system.
type Owner uint32

// An Instance is memory of an object.
type Instance struct {
	ID     uint32
	Object uint32 // index in the image
	Size   uint64 // bytes
	Shared bool   // the object's one instance: it does not end
	Sealed bool   // nobody can write to it
	Secret bool   // one owner has a reference, as long as it lives; it is not offered

	uses int // references and offers
}

// A Reference is an owner's right to an instance.
type Reference struct {
	Owner    Owner
	Number   uint64 // of the owner; not 0
	Instance uint32
	Access   uint8  // abi.AccessRead, with abi.AccessWrite or without
	Asked    uint32 // Control.Seq of the request for it
	Via      uint64 // the offer that it was redeemed from; 0: none
}

// An End is one end of a gate: 0 the client's, 1 the server's.
type End struct {
	Gate uint32
	Side uint8
}

// Other is the end at which a message that is sent at e arrives.
func (e End) Other() End { return End{e.Gate, 1 - e.Side} }

// An Offer is an instance that may go in one message, from End to the other one.
type Offer struct {
	ID       uint64 // in the message
	End      End
	Owner    Owner  // who made it, and may have ended
	Payer    uint32 // whom it counts for
	To       uint32 `json:"-"` // who may redeem it; whoever takes it over knows that by its gate
	Instance uint32
	Access   uint8
	Asked    uint32
}

// A Refusal is why a Store does not do something.
type Refusal struct {
	Reason abi.Reason
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(reason abi.Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// Writes reports whether rights include that to write.
func Writes(access uint8) bool { return access&abi.AccessWrite != 0 }

// Valid reports whether access is a set of rights: reading, with writing or without.
func Valid(access uint8) bool {
	return access == abi.AccessRead || access == abi.AccessRead|abi.AccessWrite
}
