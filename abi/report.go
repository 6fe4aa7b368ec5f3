package abi

import "encoding/binary"

// Append appends the record as ParseRecord reads it. Parameters and text beyond
// RecordParams and RecordText are left out.
func (r *Record) Append(b []byte) []byte {
	var w [RecordSize]byte
	le := binary.LittleEndian
	le.PutUint64(w[0:], r.Time)
	le.PutUint64(w[8:], r.Seq)
	le.PutUint32(w[16:], r.Gate)
	le.PutUint32(w[20:], uint32(r.From))
	le.PutUint32(w[24:], uint32(r.To))
	le.PutUint32(w[28:], r.Route)
	le.PutUint32(w[32:], r.Method)
	le.PutUint16(w[36:], r.Slot)
	le.PutUint16(w[38:], r.Gen)
	w[40], w[41], w[42] = byte(r.Kind), byte(r.Dir), byte(r.Reason)
	n := min(len(r.Params), RecordParams)
	w[43] = byte(n)
	le.PutUint32(w[44:], r.Detail)
	le.PutUint32(w[48:], r.Length)
	w[52], w[53] = byte(min(len(r.Text), RecordText)), r.Word
	le.PutUint16(w[54:], uint16(r.Present))
	le.PutUint64(w[56:], r.State)
	for i, v := range r.Params[:n] {
		le.PutUint64(w[64+8*i:], v)
	}
	copy(w[128:], r.Text)
	return append(b, w[:]...)
}

// Where the receiver's library checks messages, it also reports them: a Record
// for each, on a socket of its domain (OpHello). In it Gate is the number of the
// reporting end's block on the verdict page; the monitor has written to that
// block whose gate it is, and the audit writer takes the rest from there. So a
// domain can report what is not true of its own gates only:
//
//	word PageGate   number of the gate (bits 0-31), route (bits 32-63)
//	word PageEnds   client (bits 0-31), server (bits 32-63)
const (
	PageGate = 2
	PageEnds = 3
)

// Level says what checks the parameters of messages.
type Level uint8

const (
	LevelKernel  Level = iota // the kernel, before delivery: filters of eBPF, which root loads
	LevelLibrary              // the receiver's library; the kernel checks method and size (classic BPF, which anybody loads)
)

// String is what `--level` takes.
func (l Level) String() string {
	if l == LevelLibrary {
		return "library"
	}
	return "kernel"
}
