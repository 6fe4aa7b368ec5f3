package abi

import (
	"encoding/binary"
	"fmt"
)

// RecordSize is the fixed size of a Record in a domain's ring buffer, in bytes.
const RecordSize = 192

// RecordParams is the number of parameters that a record carries at most.
const RecordParams = 8

// RecordText is the number of bytes of string parameters that a record carries at most.
const RecordText = 64

// Direction says which end of a gate sent a message.
type Direction uint8

const (
	Request Direction = 0 // from client to server
	Reply   Direction = 1 // from server to client
)

// Record is what a filter writes about one message. Layout, little endian:
//
//	0    time     u64  CLOCK_BOOTTIME, ns
//	8    seq      u64  number of this record among those of its sender, from 1; lost ones are counted too, so a gap is a loss
//	16   gate     u32  index of the gate in the gate table
//	20   from     u32  sender, DomainID (NoDomain: a user)
//	24   to       u32  receiver, DomainID (NoDomain: a user)
//	28   route    u32  index of the route in the image
//	32   method   u32  as in the header, if it was read
//	36   slot     u16
//	38   gen      u16
//	40   kind     u8   as in the header, if it was read
//	41   dir      u8   Direction
//	42   reason   u8
//	43   nparams  u8   number of parameters that follow
//	44   detail   u32  as on the verdict page
//	48   length   u32  of the packet, bytes
//	52   textlen  u8   bytes of text that follow
//	53   word     u8   1 + which of the words of state of the method follows; 0: none
//	54   present  u16  bit i: parameter i was in the message
//	56   state    u64  that word after the decision: values (bits 0-47), number of changes (bits 48-63)
//	64   params   8*u64: a scalar; for a string its offset in text << 32 | its length in the message
//	128  text     64 bytes
//
// Parameters are those that the policy of the method looks at, in the order
// of the program's capture slots. Strings share the text equally: one has all
// 64 bytes, two 32 each, three or four 16, more 8 (filter.Text reads them).
type Record struct {
	Time      uint64
	Seq       uint64
	Gate      uint32
	From, To  DomainID
	Route     uint32
	Method    uint32
	Slot, Gen uint16
	Kind      Kind
	Dir       Direction
	Reason    Reason
	Detail    uint32
	Length    uint32
	Present   uint64
	Word      uint8 // 1 + index in the words of the method's policy (filter.Program.Words); 0: none
	State     uint64
	Params    []uint64
	Text      []byte
}

// ParseRecord decodes a record. It reports an error if b is not exactly one record.
func ParseRecord(b []byte) (Record, error) {
	if len(b) != RecordSize {
		return Record{}, fmt.Errorf("audit record of %d bytes, not %d", len(b), RecordSize)
	}
	le := binary.LittleEndian
	n, text := int(b[43]), int(b[52])
	if n > RecordParams || text > RecordText {
		return Record{}, fmt.Errorf("audit record with %d parameters and %d bytes of text", n, text)
	}
	r := Record{
		Time: le.Uint64(b), Seq: le.Uint64(b[8:]), Gate: le.Uint32(b[16:]),
		From: DomainID(le.Uint32(b[20:])), To: DomainID(le.Uint32(b[24:])),
		Route: le.Uint32(b[28:]), Method: le.Uint32(b[32:]), Slot: le.Uint16(b[36:]), Gen: le.Uint16(b[38:]),
		Kind: Kind(b[40]), Dir: Direction(b[41]), Reason: Reason(b[42]), Detail: le.Uint32(b[44:]),
		Length: le.Uint32(b[48:]), Present: uint64(le.Uint16(b[54:])), Word: b[53], State: le.Uint64(b[56:]),
	}
	for i := range n {
		r.Params = append(r.Params, le.Uint64(b[64+8*i:]))
	}
	r.Text = append(r.Text, b[128:128+text]...)
	return r, nil
}
