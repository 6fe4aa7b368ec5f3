package abi

import (
	"encoding/binary"
	"fmt"
)

// Version is the first byte of every message on a gate.
const Version = 1

// HeaderSize is the number of bytes before the body of a message. A denied
// reply is delivered as exactly this many bytes, so that its length is wrong.
const HeaderSize = 24

// DeniedSize is the number of bytes that are delivered of a denied reply
// without a body, which its header alone would not tell from an admitted one:
// the header without the deadline, which a reply does not have.
const DeniedSize = 16

// MaxMessage is the largest packet that a gate carries, header included, in
// bytes. It stays below the kernel's default socket send buffer (212,992
// bytes, net.core.wmem_default), since domains cannot enlarge theirs.
const MaxMessage = 128 << 10

// Slots is the number of entries of a gate's call table, and so of calls that
// may be pending on one gate. It is a power of two: filters mask with it.
const Slots = 64

// Kind says what a message is.
type Kind uint8

// The kinds of message on a gate. Calls, cancels, and a client's stream items
// and stream end travel from client to server, credits both ways; the others back.
const (
	KindCall       Kind = 1 // opens a call; the body is the request, or empty if the client streams
	KindReply      Kind = 2 // the last message of a successful call that does not stream from the server
	KindError      Kind = 3 // the last message of a failed call; the body is a Status
	KindStreamItem Kind = 4 // one message of a stream, in either direction
	KindStreamEnd  Kind = 5 // from the client: no more items; from the server: the call succeeded
	KindCancel     Kind = 6 // the client has lost interest; the slot stays taken until the server ends the call
	KindCredit     Kind = 7 // from the receiver of a stream, either side: StreamCredit more items may follow; empty body, admitted for a pending call, frees nothing
)

// StreamWindow is the number of items of one stream and direction that may be
// under way without a KindCredit from their receiver: a receiver that is slow
// to read holds up the sender of this stream and nothing else, and never keeps
// more than this many items.
const StreamWindow = 16

// StreamCredit is the number of items for which one KindCredit stands.
const StreamCredit = StreamWindow / 2

// Flags are bits of a message's header. A message with an unknown bit is denied.
type Flags uint16

// FlagMetadata says that the payload starts with a metadata section: its
// length in bytes (uint16), then that many bytes of a protobuf message whose
// field n is the value (bytes) of the n-th metadata key of the system, from 1.
const FlagMetadata Flags = 1

// FlagsKnown are the bits that may be set.
const FlagsKnown = FlagMetadata

// Header is the fixed part of a message on a gate.
type Header struct {
	Kind     Kind
	Flags    Flags
	Method   uint32 // ordinal of the method in the gate's interface
	Slot     uint16 // entry of the call table
	Gen      uint16 // generation of that entry: chosen by the client, new for each call
	Length   uint32 // bytes after the header
	Deadline uint64 // CLOCK_BOOTTIME, ns; 0: none; always 0 from the server
}

// Put writes h to the first HeaderSize bytes of b.
//
// Preconditions: len(b) >= HeaderSize.
func (h *Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	b[0] = Version
	b[1] = byte(h.Kind)
	binary.LittleEndian.PutUint16(b[2:], uint16(h.Flags))
	binary.LittleEndian.PutUint32(b[4:], h.Method)
	binary.LittleEndian.PutUint16(b[8:], h.Slot)
	binary.LittleEndian.PutUint16(b[10:], h.Gen)
	binary.LittleEndian.PutUint32(b[12:], h.Length)
	binary.LittleEndian.PutUint64(b[16:], h.Deadline)
}

// ParseHeader reads the header of packet. It reports an error if the packet
// is shorter than a header or of another version; it checks nothing else, in
// particular not Length: a denied reply has the length of what was cut off.
func ParseHeader(packet []byte) (Header, error) {
	if len(packet) < HeaderSize {
		return Header{}, fmt.Errorf("message of %d bytes is shorter than its header of %d", len(packet), HeaderSize)
	}
	if packet[0] != Version {
		return Header{}, fmt.Errorf("message has version %d, not %d", packet[0], Version)
	}
	return Header{
		Kind:     Kind(packet[1]),
		Flags:    Flags(binary.LittleEndian.Uint16(packet[2:])),
		Method:   binary.LittleEndian.Uint32(packet[4:]),
		Slot:     binary.LittleEndian.Uint16(packet[8:]),
		Gen:      binary.LittleEndian.Uint16(packet[10:]),
		Length:   binary.LittleEndian.Uint32(packet[12:]),
		Deadline: binary.LittleEndian.Uint64(packet[16:]),
	}, nil
}

// A call-table slot is one 64-bit word, changed by compare-and-swap only:
// generation (bits 0-15), method ordinal (bits 16-31), phase (bits 32-63).
// Phase 0 is a free slot; its generation and method are those of its last call.
const (
	SlotBusy       = 1 << 0 // phase: a call is pending
	SlotClientDone = 1 << 1 // phase: the client ended its stream, or never had one
	SlotCancelled  = 1 << 2 // phase: the client cancelled
	SlotReserved   = 1 << 3 // phase: of a call that is being admitted: nothing can be sent for it yet
)
