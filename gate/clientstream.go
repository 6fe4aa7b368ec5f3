package gate

import (
	"context"
	"fmt"
	"io"
	"sync"

	"ward/abi"
)

// A ClientStream is the client's side of a call that streams. One goroutine may
// send while another receives, and no more than that.
//
// The call ends when Recv returns an error, io.EOF included, or when the
// context of the stream ends; one of the two must happen, or its slot of the
// gate stays taken.
type ClientStream struct {
	c      *Client
	ctx    context.Context
	stop   func() bool // of the context's watch
	method abi.ControlMethod
	h      abi.Header
	first  Metadata // to go with the opening call
	opened bool     // the call was sent; false only for a server stream without its request

	sending sync.Mutex // held around a send and the reading of its verdict

	// Guarded by c.mu.
	items   []message // arrived, not taken; at most abi.StreamWindow
	final   message
	ended   bool   // final has come, or err is set
	err     *Error // why this side gave the call up
	told    bool   // the server knows that the call has ended
	taken   int    // items taken since the last credit was given
	credit  int    // items that may be sent
	eof     bool   // final was taken
	header  Metadata
	seen    bool // header is known
	trailer Metadata
	recv    waiter
	room    waiter
}

// NewStream starts a call of a streaming method, named without package and
// service. If only the server streams, the call starts with the first Send,
// which carries the request.
func (c *Client) NewStream(ctx context.Context, method string, md Metadata) (*ClientStream, error) {
	o, ok := c.link.ordinals[method]
	if !ok {
		return nil, &Error{Code: Unimplemented, Message: fmt.Sprintf("%s has no method %s", c.link.Interface, method)}
	}
	st := &ClientStream{c: c, ctx: ctx, method: c.link.Methods[o], first: md, credit: abi.StreamWindow, stop: func() bool { return true }}
	if !st.method.ClientStream && !st.method.ServerStream {
		return nil, &Error{Code: Internal, Message: c.link.method(o) + " does not stream: use Invoke"}
	}
	st.h.Method = o
	st.recv.ready, st.room.ready = make(chan struct{}, 1), make(chan struct{}, 1)
	if st.method.ClientStream {
		if err := st.open(func(b []byte) ([]byte, error) { return b, nil }); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// open sends the opening call.
func (st *ClientStream) open(request func([]byte) ([]byte, error)) error {
	c := st.c
	if st.ctx.Err() != nil {
		return contextError(st.ctx)
	}
	if !c.link.enter() {
		return c.Err()
	}
	defer c.link.leave()
	out := startPacket()
	defer out.free()
	st.h.Kind = abi.KindCall
	var err error
	if len(st.first) > 0 {
		st.h.Flags = abi.FlagMetadata
		if out.b, err = c.link.appendMetadata(out.b, st.first); err != nil {
			return err
		}
	}
	if out.b, err = request(out.b); err != nil {
		return err
	}
	if err := c.link.fits(st.h.Method, out.b); err != nil {
		return err
	}
	c.mu.Lock()
	i, err := c.acquire(st.ctx)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.slots[i].stream = st
	st.h.Slot, st.h.Gen, st.h.Deadline = uint16(i), c.slots[i].gen, bootDeadline(st.ctx)
	c.mu.Unlock()
	if err := c.transmit(st.ctx, &st.h, out.b); err != nil {
		c.mu.Lock()
		c.release(i)
		c.mu.Unlock()
		return err
	}
	st.opened = true
	st.h.Flags = 0
	st.stop = context.AfterFunc(st.ctx, func() { st.abort(contextError(st.ctx)) })
	return nil
}

// abort gives the call up: waiting sends and receives end with err, the server is told.
func (st *ClientStream) abort(err *Error) {
	st.c.mu.Lock()
	if !st.ended {
		st.giveUp(err)
	}
	tell := st.opened && !st.told && st.c.err == nil
	st.told = true
	st.c.mu.Unlock()
	if tell {
		st.sending.Lock()
		st.c.cancel(int(st.h.Slot), st.h.Gen, st.h.Method)
		st.sending.Unlock()
	}
}

// giveUp ends the call on this side. The server is not told yet.
//
// Preconditions: c.mu is held; the call has not ended.
func (st *ClientStream) giveUp(err *Error) {
	st.ended, st.err = true, err
	s := &st.c.slots[st.h.Slot]
	if s.stream == st {
		s.abandoned = true
	}
	for i := range st.items {
		st.items[i].free()
	}
	st.items = nil
	st.recv.finish()
	st.room.finish()
}

// Send sends one item, encoded. It waits while the server is slow to take
// items. io.EOF says that the call has ended: Recv tells how.
func (st *ClientStream) Send(item []byte) error {
	return st.SendFrom(func(b []byte) ([]byte, error) { return append(b, item...), nil })
}

// SendFrom is Send for callers that encode straight into the packet: item
// appends the encoded item to its argument.
func (st *ClientStream) SendFrom(item func([]byte) ([]byte, error)) error {
	if !st.method.ClientStream {
		if st.opened {
			return &Error{Code: Internal, Message: st.c.link.method(st.h.Method) + " takes one request"}
		}
		return st.open(item)
	}
	if err := st.reserve(); err != nil {
		return err
	}
	out := startPacket()
	defer out.free()
	var err error
	if out.b, err = item(out.b); err != nil {
		return err
	}
	if err := st.c.link.fits(st.h.Method, out.b); err != nil {
		return err
	}
	return st.transmit(abi.KindStreamItem, out.b)
}

// reserve takes a credit.
func (st *ClientStream) reserve() error {
	c := st.c
	if !c.link.enter() {
		return c.Err()
	}
	defer c.link.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	for st.credit == 0 && !st.ended {
		st.room.reset()
		if err := c.wait(st.ctx, &st.room); err != nil {
			return err
		}
	}
	if st.ended {
		return io.EOF
	}
	st.credit--
	return nil
}

// transmit sends a message of the running call.
func (st *ClientStream) transmit(kind abi.Kind, packet []byte) error {
	c := st.c
	if !c.link.enter() {
		return c.Err()
	}
	defer c.link.leave()
	st.sending.Lock()
	h := abi.Header{Kind: kind, Slot: st.h.Slot, Gen: st.h.Gen, Method: st.h.Method}
	err := c.transmit(st.ctx, &h, packet)
	st.sending.Unlock()
	if err == nil {
		return nil
	}
	e := AsError(err)
	if e.Reason == abi.ReasonNoCall {
		return io.EOF // the server has ended the call meanwhile
	}
	st.abort(e)
	return e
}

// CloseSend tells the server that no more items follow.
func (st *ClientStream) CloseSend() error {
	if !st.method.ClientStream {
		return nil
	}
	var packet [abi.HeaderSize]byte
	st.c.mu.Lock()
	ended := st.ended
	st.c.mu.Unlock()
	if ended {
		return nil
	}
	if err := st.transmit(abi.KindStreamEnd, packet[:]); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// Recv returns the next item. io.EOF says that the call succeeded and no more
// items follow; for a method whose server does not stream it follows the one reply.
func (st *ClientStream) Recv() ([]byte, error) {
	var item []byte
	err := st.RecvTo(func(b []byte) error { item = append([]byte{}, b...); return nil })
	return item, err
}

// RecvTo is Recv for callers that decode straight from the packet. item must
// not keep its argument.
func (st *ClientStream) RecvTo(item func([]byte) error) error {
	m, err := st.next()
	if err != nil {
		st.stop()
		return err
	}
	defer m.free()
	_, body, err := st.c.link.split(m.Flags, m.payload())
	if err == nil {
		err = item(body)
	}
	if err != nil {
		st.abort(AsError(err))
	}
	return err
}

// next takes the next message that carries a body.
func (st *ClientStream) next() (message, error) {
	c := st.c
	if !st.opened {
		return message{}, &Error{Code: Internal, Message: c.link.method(st.h.Method) + ": receive before the request was sent"}
	}
	if err := st.await(); err != nil {
		return message{}, err
	}
	c.mu.Lock()
	if len(st.items) == 0 {
		unknown := st.err != nil && !st.told
		m, err := st.end()
		c.mu.Unlock()
		if unknown { // whoever leads found the error, and does not send
			st.abort(st.err)
		}
		return m, err
	}
	m := st.items[0]
	st.items = append(st.items[:0], st.items[1:]...)
	st.taken++
	grant := st.taken >= abi.StreamCredit && !st.ended
	if grant {
		st.taken = 0
	}
	c.mu.Unlock()
	if m.denied {
		m.free()
		e := replyDenied(c.link.method(st.h.Method))
		st.abort(e)
		return message{}, e
	}
	if grant {
		st.grant()
	}
	return m, nil
}

// await waits until there is an item or the call has ended, and notes the
// metadata of the first message. It returns the error of a broken gate.
func (st *ClientStream) await() error {
	c := st.c
	entered := c.link.enter()
	if entered {
		defer c.link.leave()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(st.items) == 0 && !st.ended {
		if !entered {
			return c.err
		}
		st.recv.reset()
		if err := c.wait(st.ctx, &st.recv); err != nil {
			c.mu.Unlock()
			st.abort(AsError(err))
			c.mu.Lock()
			if st.err != nil {
				return st.err
			}
		}
	}
	if !st.seen {
		st.seen = true
		if len(st.items) > 0 && !st.items[0].denied {
			st.header, _, _ = c.link.split(st.items[0].Flags, st.items[0].payload())
		}
	}
	return nil
}

// end tells how the call ended.
//
// Preconditions: c.mu is held; the call has ended and no item is left.
func (st *ClientStream) end() (message, error) {
	st.stop()
	switch {
	case st.err != nil:
		return message{}, st.err
	case st.eof:
		return message{}, io.EOF
	case st.final.denied:
		st.final.free()
		st.err = replyDenied(st.c.link.method(st.h.Method))
		return message{}, st.err
	}
	st.eof = true
	m := st.final
	st.final.buf = nil
	md, body, err := st.c.link.split(m.Flags, m.payload())
	if err != nil {
		m.free()
		st.err = st.c.link.broken(err)
		return message{}, st.err
	}
	st.trailer = md
	switch m.Kind {
	case abi.KindReply:
		return m, nil
	case abi.KindError:
		st.err = st.c.link.received(m.Method, body, md)
		m.free()
		return message{}, st.err
	}
	m.free()
	return message{}, io.EOF
}

// Header waits for the first message of the answer and returns its metadata.
func (st *ClientStream) Header() (Metadata, error) {
	if err := st.await(); err != nil {
		return nil, err
	}
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.header, nil
}

// Trailer returns the metadata of the last message, once Recv has returned an error.
func (st *ClientStream) Trailer() Metadata {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.trailer
}

// grant tells the server that abi.StreamCredit items were taken. A call that
// has ended meanwhile needs none, so the verdict does not matter.
func (st *ClientStream) grant() {
	var packet [abi.HeaderSize]byte
	h := abi.Header{Kind: abi.KindCredit, Slot: st.h.Slot, Gen: st.h.Gen, Method: st.h.Method}
	h.Put(packet[:])
	if !st.c.link.enter() {
		return
	}
	defer st.c.link.leave()
	st.sending.Lock()
	defer st.sending.Unlock()
	st.c.link.send(st.ctx, packet[:])
}

// deliver takes a message of the call; it is called by whoever leads. It
// reports whether it kept buf.
//
// Preconditions: c.mu is held.
func (st *ClientStream) deliver(m *message, buf *buffer, final bool) (kept bool) {
	switch {
	case final:
		kept = m.keep(buf)
		st.final, st.ended, st.told = *m, true, true
		st.recv.finish()
		st.room.finish()
	case m.Kind == abi.KindCredit && st.credit+abi.StreamCredit <= abi.StreamWindow:
		st.credit += abi.StreamCredit
		st.room.finish()
	case m.Kind == abi.KindStreamItem && len(st.items) < abi.StreamWindow:
		kept = m.keep(buf)
		st.items = append(st.items, *m)
		st.recv.finish()
	default:
		st.giveUp(&Error{Code: ResourceExhausted, Message: "the server of " + st.c.link.method(st.h.Method) + " sends more than its stream allows"})
	}
	return kept
}
