package abi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ControlFD is the descriptor of a domain's control channel to the monitor, a
// SOCK_SEQPACKET socket; the environment variable ControlEnv says so to
// programs that want it.
const (
	ControlFD  = 3
	ControlEnv = "WARD_CONTROL"
)

// MaxControl is the largest message on a control channel, in bytes.
const MaxControl = 32 << 10

// ControlOp says what a message on a control channel is.
type ControlOp uint16

const (
	// From a domain to the monitor. Each is answered by OpOK, OpRefused or OpGate with the same Seq.
	OpOpen    ControlOp = 1 // open a gate to Interface, at the server Name if not empty
	OpServe   ControlOp = 2 // from now on this domain takes gates of Interface
	OpUnserve ControlOp = 3 // no longer

	// Of controlled objects. Each is answered by OpObject, OpOK or OpRefused with the same Seq.
	// A reference is a domain's own number of an instance that it has.
	OpMake       ControlOp = 4  // make an instance of the object Name, of Size bytes (0: as large as it may be), secret memory with AccessSecret; answered by OpObject
	OpOpenObject ControlOp = 5  // open the shared object Name with Access; answered by OpObject
	OpOffer      ControlOp = 6  // the instance of reference Handle may go in one message of the gate end Block, with Access; answered by OpOK, Handle: number for the message
	OpRedeem     ControlOp = 7  // Handle: number from a message that came at the gate end Block; answered by OpObject, once
	OpDrop       ControlOp = 8  // end the reference Handle, which is not of secret memory; answered by OpOK
	OpRetract    ControlOp = 9  // end the offer Handle of the gate end Block, by who made it or who got it, if it was not redeemed; answered by OpOK
	OpReceive    ControlOp = 10 // from now on this domain reads the mailbox Name; answered by OpOK, then OpGate with Seq 0 for each writer

	// From the monitor to a domain.
	OpHello   ControlOp = 16 // first message, Seq 0; descriptor: the verdict page
	OpGate    ControlOp = 17 // a gate end; descriptor: the socket. Seq 0: a new client of a server; else the answer to OpOpen. To a program outside Ward a second descriptor, its verdict page, comes along.
	OpOK      ControlOp = 18
	OpRefused ControlOp = 19 // Reason, Detail, Text
	OpRenewed ControlOp = 21 // Seq 0: the monitor or the name server is a new one: ask again, with the same Seq, what was not answered, and publish again what was published
	OpObject  ControlOp = 22 // an instance; descriptor: its memory. Handle: this domain's reference, Size, Access
	OpRevoked ControlOp = 20 // Seq 0: this domain's end of a gate of Interface, with Block on the page, is revoked: Reason, Detail, Text as of OpRefused. ReasonNotRunning: its interface has changed
)

// Rights to an object, bits of Control.Access. Writing includes reading: a set
// with AccessWrite has AccessRead.
const (
	AccessRead  uint8 = 1
	AccessWrite uint8 = 2
)

// AccessPost stands alone: in OpOpen it asks for a gate to a mailbox, which
// OpOpen without it never gives, and in the answer it says that this is one. The
// reading end of one that its reader gets (OpReceive) has AccessRead, and Name is
// the mailbox's; its block is on no page of the reader's.
const AccessPost uint8 = 4

// AccessSecret stands alone: OpMake with it makes secret memory and nothing else,
// OpMake without it never does. Its reference lasts as long as the process: whether
// somebody has secret memory mapped no kernel tells.
const AccessSecret uint8 = 8

// ControlMethod is one entry of an interface, in the order of the ordinals.
type ControlMethod struct {
	Name         string // without package and service
	ClientStream bool
	ServerStream bool
	Terse        bool   // an error carries its code only, it and a stream's end no metadata: not every reply may pass
	MaxRequest   uint32 // largest body of a request (or of a client's stream item), bytes
	MaxReply     uint32 // largest body of a reply (or of a server's stream item), bytes
}

// Peer is who is at the other end of a gate, as the kernel and the monitor
// know it. For a domain, Name and Ring are set; for a user of a program
// outside Ward, Domain is NoDomain and Name is the user's name, if it has one.
type Peer struct {
	Domain DomainID
	Name   string
	UID    uint32
	PID    uint32 // in the monitor's PID namespace; for display only
	Ring   int32
	Groups []uint32
}

// Control is a message on a control channel. Which fields are meaningful is
// said at each ControlOp.
type Control struct {
	Op        ControlOp
	Seq       uint32
	Interface string
	Name      string // OpOpen: the wanted server; OpHello: this domain's name
	System    string // OpHello
	Block     uint32 // OpGate: index of the gate end's block on the verdict page
	Reason    Reason // OpRefused
	Detail    uint32 // OpRefused: index of the policy, or NoPolicy
	Text      string // OpRefused: the policy's @id or a sentence; OpGate: nothing
	Peer      Peer   // OpGate
	Methods   []ControlMethod
	Metadata  []string // OpGate: metadata keys of the system; key i is field i+1 of the metadata section
	Policies  []string // OpGate: unused by the kernel; @id by index for what this end may be told, may be empty

	// Of objects. Where all three are zero they are not encoded: libraries from
	// before there were objects read every other message as they did.
	Handle uint64 // a reference, or the number of a handle in a message
	Size   uint64 // bytes
	Access uint8  // OpMake: AccessSecret, or 0; OpOpenObject, OpOffer, OpObject; OpOpen, OpGate: of a mailbox
}

// aboutObject reports whether c has the fields of objects.
func (c *Control) aboutObject() bool { return c.Handle != 0 || c.Size != 0 || c.Access != 0 }

// Errors of ParseControl.
var errControl = errors.New("malformed control message")

type writer struct{ b []byte }

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) str(s string) { w.u16(uint16(len(s))); w.b = append(w.b, s...) }
func (w *writer) bool(v bool) {
	if v {
		w.u8(1)
	} else {
		w.u8(0)
	}
}

// AppendTo appends the encoding of c to b. It reports an error if a string is
// longer than 65,535 bytes or the whole is longer than MaxControl.
func (c *Control) AppendTo(b []byte) ([]byte, error) {
	for _, s := range append(append([]string{c.Interface, c.Name, c.System, c.Text, c.Peer.Name}, c.Metadata...), c.Policies...) {
		if len(s) > 0xffff {
			return nil, fmt.Errorf("control message: string of %d bytes", len(s))
		}
	}
	start := len(b)
	w := writer{b}
	w.u16(uint16(c.Op))
	w.u32(c.Seq)
	w.str(c.Interface)
	w.str(c.Name)
	w.str(c.System)
	w.u32(c.Block)
	w.u8(uint8(c.Reason))
	w.u32(c.Detail)
	w.str(c.Text)
	w.u32(uint32(c.Peer.Domain))
	w.str(c.Peer.Name)
	w.u32(c.Peer.UID)
	w.u32(c.Peer.PID)
	w.u32(uint32(c.Peer.Ring))
	w.u16(uint16(len(c.Peer.Groups)))
	for _, g := range c.Peer.Groups {
		w.u32(g)
	}
	w.u16(uint16(len(c.Methods)))
	for _, m := range c.Methods {
		w.str(m.Name)
		w.bool(m.ClientStream)
		w.bool(m.ServerStream)
		w.bool(m.Terse)
		w.u32(m.MaxRequest)
		w.u32(m.MaxReply)
	}
	w.u16(uint16(len(c.Metadata)))
	for _, s := range c.Metadata {
		w.str(s)
	}
	w.u16(uint16(len(c.Policies)))
	for _, s := range c.Policies {
		w.str(s)
	}
	if c.aboutObject() {
		w.u64(c.Handle)
		w.u64(c.Size)
		w.u8(c.Access)
	}
	if len(w.b)-start > MaxControl {
		return nil, fmt.Errorf("control message of %d bytes, the limit is %d", len(w.b)-start, MaxControl)
	}
	return w.b, nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, min(n, 8))
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}
func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) str() string {
	n := int(r.u16())
	if r.bad || len(r.b) < n {
		r.bad = true
		return ""
	}
	return string(r.take(n))
}
func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 {
		r.bad = true
	}
	return v == 1
}

// count reads a number of items of at least size bytes each, so that a short
// message cannot make the reader allocate much.
func (r *reader) count(size int) int {
	n := int(r.u16())
	if n*size > len(r.b) {
		r.bad = true
		return 0
	}
	return n
}

// ParseControl decodes one message. It accepts exactly what AppendTo writes.
func ParseControl(b []byte) (Control, error) {
	if len(b) > MaxControl {
		return Control{}, errControl
	}
	r := reader{b: b}
	c := Control{Op: ControlOp(r.u16()), Seq: r.u32(), Interface: r.str(), Name: r.str(), System: r.str(),
		Block: r.u32(), Reason: Reason(r.u8()), Detail: r.u32(), Text: r.str()}
	c.Peer = Peer{Domain: DomainID(r.u32()), Name: r.str(), UID: r.u32(), PID: r.u32(), Ring: int32(r.u32())}
	for range r.count(4) {
		c.Peer.Groups = append(c.Peer.Groups, r.u32())
	}
	for range r.count(13) {
		c.Methods = append(c.Methods, ControlMethod{Name: r.str(), ClientStream: r.bool(), ServerStream: r.bool(), Terse: r.bool(), MaxRequest: r.u32(), MaxReply: r.u32()})
	}
	for range r.count(2) {
		c.Metadata = append(c.Metadata, r.str())
	}
	for range r.count(2) {
		c.Policies = append(c.Policies, r.str())
	}
	if !r.bad && len(r.b) > 0 {
		c.Handle, c.Size, c.Access = r.u64(), r.u64(), r.u8()
		r.bad = r.bad || !c.aboutObject() // there is one way only to write a message
	}
	if r.bad || len(r.b) != 0 {
		return Control{}, errControl
	}
	return c, nil
}
