// Package event is what the monitor and the holder tell the audit writer: one
// fixed binary message for each, at most MaxEvent bytes. The writer turns
// numbers into names by the image.
package event

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// Kind says what an Event is about.
type Kind uint8

const (
	Compiled Kind = iota + 1 // Text: the image's hash; List: the abi.Level
	Started                  // Domain, UID, PID, Ring; Allow, Policy
	Ended                    // Domain, PID, Status; of a child Text: its name
	Gate                     // From, To, Interface, Gate, Allow, Policy, Reason; of a user UID, PID, Text (name), List (what the policy knows: 1 + user, then groups). Refused by an unknown name: Text
	Notice                   // Text; Domain
	Stopped                  // Status; the last event
	Ring                     // descriptor: the ring buffer of endpoint Endpoint, Domain; UID and Text of a user
	RingGone                 // Endpoint has sent its last record; Count: records in all; whose it was as for Ring
	Output                   // descriptor: what Domain writes to stdout and stderr; Endpoint: the number of its ring
	Lost                     // Count events of the monitor were not sent
	Image                    // descriptor: the sealed image that is in force from now on, with the numbers of the one before; Text: its hash
	Reloaded                 // UID, Text (the new image's hash), Status: gates swapped, Count: gates closed; Reason: abi.ReasonClosed if it is not in force everywhere
	Revoked                  // UID, Text: what was taken away; Reason as above
	Granted                  // UID, Text: what was given; Reason as above
	Closed                   // From, To, Interface, Gate, Policy, Reason: a gate that the policy no longer allows; of a user as for Gate
	Known                    // as Gate, of a user's gate that was opened before: for a writer that does not know it
	StateSet                 // UID, Domain or None, Text: NAME=VALUE, Gate or None, Count: the word afterwards
	Quota                    // Domain ran into a quota: Text, Count: how often since the last time
)

// Of children and delegations.
const (
	Child     Kind = 40 + iota // no line: Domain is a child, Text: its name, From: its parent, To: its template, List: by which policies its messages are judged (monitor/spawn.go)
	Spawned                    // Domain, From, To, UID, PID, Ring, Text: its rights; Allow, Policy. Refused: From, To, Reason, Text
	Lent                       // From, To, Count: number of the delegation, Text: entry point and limits; Allow, Policy, Reason
	LentEnded                  // From, To, Count, Text: entry point and why
)

// Of controlled objects.
const (
	// Object: somebody has asked for an object, or given it. Domain: who has the right or has it not; of what is offered and
	// redeemed instead From, To: who gives, who gets. Interface: its number in the image, or None and its name in front of Text, with a zero byte between; Status: the abi.ControlOp;
	// List: the right (abi.AccessRead, …; 0: to make one); Count: bytes; Allow, Policy, Reason; Text of what is refused: why.
	Object Kind = LentEnded + 1
)

// Serve: From asked to serve Interface, or, if that is None, the one named by Text, which is the first step of publishing it, and was refused:
// Policy, Reason. What is allowed is recorded when the name server is told.
const Serve Kind = Object + 1

const last = Serve

// None stands for "no domain", "no policy", "no interface", "no gate" in an Event.
const None = 0xffffffff

// Once as the Endpoint of an event, of a kind that does not name one, says that
// it may be sent again, by another monitor, and is to be recorded once: what tells it
// from all others that are so marked is its Time.
const Once = 0xfffffffe

// MaxText is the longest text of an event, in bytes; a longer one is cut.
const MaxText = 2048

// MaxList is the longest list of an event; a longer one is cut.
const MaxList = 256

const fixed = 2 + 12*4 + 3*8 + 2

// MaxEvent is the longest message, in bytes.
const MaxEvent = fixed + 4*MaxList + MaxText

// An Event is one message. Fields that its Kind does not name are not looked at.
type Event struct {
	Kind      Kind
	Reason    abi.Reason
	Allow     bool
	Domain    abi.DomainID
	From, To  abi.DomainID
	Endpoint  uint32
	Gate      uint32
	Interface uint32
	Policy    uint32
	UID, PID  uint32
	Ring      int32
	Status    int32
	Time      uint64 // CLOCK_BOOTTIME, ns
	Count     uint64
	Number    uint64 // of the monitor's, in order, over all monitors; 0: of the holder
	List      []uint32
	Text      string
}

// New returns an event of now about nothing.
func New(k Kind) Event {
	return Event{Kind: k, Domain: None, From: None, To: None, Endpoint: None, Gate: None, Interface: None, Policy: None, Time: Now()}
}

// Now returns CLOCK_BOOTTIME in ns.
func Now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// Recorded is what tells an event from all others that are recorded once; 0: it is none.
func (e *Event) Recorded() uint64 {
	switch e.Kind {
	case Ring, RingGone, Output:
		return 0
	}
	if e.Endpoint != Once {
		return 0
	}
	return e.Time
}

// Encode returns the message: kind, reason, then the 32-bit words, the 64-bit
// words, the list with its length (16 bits) in front, and the text, little endian.
func (e *Event) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, fixed+len(e.Text))
	b = append(b, byte(e.Kind), byte(e.Reason))
	var allow uint32
	if e.Allow {
		allow = 1
	}
	for _, v := range []uint32{allow, uint32(e.Domain), uint32(e.From), uint32(e.To), e.Endpoint, e.Gate,
		e.Interface, e.Policy, e.UID, e.PID, uint32(e.Ring), uint32(e.Status)} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, e.Time)
	b = le.AppendUint64(b, e.Count)
	b = le.AppendUint64(b, e.Number)
	list := e.List[:min(len(e.List), MaxList)]
	b = le.AppendUint16(b, uint16(len(list)))
	for _, v := range list {
		b = le.AppendUint32(b, v)
	}
	return append(b, e.Text[:min(len(e.Text), MaxText)]...)
}

var errEvent = errors.New("malformed audit event")

// Decode reads a message.
func Decode(b []byte) (Event, error) {
	if len(b) < fixed || len(b) > MaxEvent || b[0] == 0 || b[0] > byte(last) {
		return Event{}, errEvent
	}
	le := binary.LittleEndian
	e := Event{Kind: Kind(b[0]), Reason: abi.Reason(b[1])}
	w := func(i int) uint32 { return le.Uint32(b[2+4*i:]) }
	if w(0) > 1 {
		return Event{}, errEvent
	}
	e.Allow, e.Domain, e.From, e.To = w(0) == 1, abi.DomainID(w(1)), abi.DomainID(w(2)), abi.DomainID(w(3))
	e.Endpoint, e.Gate, e.Interface, e.Policy = w(4), w(5), w(6), w(7)
	e.UID, e.PID, e.Ring, e.Status = w(8), w(9), int32(w(10)), int32(w(11))
	e.Time, e.Count, e.Number = le.Uint64(b[50:]), le.Uint64(b[58:]), le.Uint64(b[66:])
	n := int(le.Uint16(b[74:]))
	rest := b[fixed:]
	if n > MaxList || 4*n > len(rest) || len(rest)-4*n > MaxText {
		return Event{}, errEvent
	}
	for i := range n {
		e.List = append(e.List, le.Uint32(rest[4*i:]))
	}
	e.Text = string(rest[4*n:])
	return e, nil
}
