package gate

import (
	"sync"

	"ward/abi"
)

// A buffer holds one packet. Buffers to receive in are abi.MaxMessage long;
// buffers to send from grow as needed and stay so.
type buffer struct{ b []byte }

// small is the size of a buffer that a message is copied into when it is
// handed from the reader to another goroutine; larger ones change hands whole.
const small = 4 << 10

var (
	receiving = sync.Pool{New: func() any { return &buffer{make([]byte, abi.MaxMessage)} }}
	sending   = sync.Pool{New: func() any { return &buffer{make([]byte, 0, small)} }}
)

// free gives b back to where it came from.
func (b *buffer) free() {
	if cap(b.b) >= abi.MaxMessage {
		b.b = b.b[:abi.MaxMessage]
		receiving.Put(b)
		return
	}
	b.b = b.b[:0]
	sending.Put(b)
}

// startPacket returns a buffer with room for a header.
func startPacket() *buffer {
	b := sending.Get().(*buffer)
	b.b = b.b[:abi.HeaderSize]
	return b
}

// A message is a received packet: its header, and what follows the header.
type message struct {
	abi.Header
	denied bool // cut to its header by the filter of the other end
	buf    *buffer
	n      int // bytes of the packet
}

// parse checks what the filter would have let pass. The buffer still belongs to the caller.
func parse(b []byte) (message, error) {
	var whole [abi.HeaderSize]byte
	bare := len(b) == abi.DeniedSize // denied, and had no body
	if bare {
		copy(whole[:], b)
		b = whole[:]
	}
	h, err := abi.ParseHeader(b)
	m := message{Header: h, n: len(b), denied: bare}
	if err != nil {
		return m, err
	}
	if int64(h.Length) != int64(len(b)-abi.HeaderSize) {
		if len(b) != abi.HeaderSize {
			return m, errLength
		}
		m.denied = true
	}
	if h.Slot >= abi.Slots {
		return m, errSlot
	}
	return m, nil
}

// keep gives m a buffer of its own: buf itself, which the caller then must
// replace (keep reports true), or a copy of a small packet.
func (m *message) keep(buf *buffer) (whole bool) {
	if m.n > small {
		m.buf = buf
		return true
	}
	m.buf = sending.Get().(*buffer)
	m.buf.b = append(m.buf.b[:0], buf.b[:m.n]...)
	return false
}

// payload is the packet after its header.
func (m *message) payload() []byte { return m.buf.b[abi.HeaderSize:m.n] }

func (m *message) free() {
	if m.buf != nil {
		m.buf.free()
		m.buf = nil
	}
}
