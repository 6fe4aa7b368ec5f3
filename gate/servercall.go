package gate

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"ward/abi"
)

// A ServerCall is one call as its server sees it. It is valid until the
// handler returns. One goroutine may receive while another sends.
//
// For a method without streams: Recv returns the request, Send the reply.
type ServerCall struct {
	gate   *serverGate
	ctx    callContext
	h      abi.Header
	method *abi.ControlMethod

	metadata Metadata
	request  []byte // of the opening message, in the reader's buffer
	taken    bool   // request was taken
	answer   Metadata
	last     atomic.Bool // the last message was sent

	sending sync.Mutex // held around a send and the reading of its verdict

	*flow // nil if neither side streams: most calls are short, and pay for no more than they need
}

// flow is what a call that streams has besides. Guarded by serverGate.mu.
type flow struct {
	items   []message // arrived, not taken; at most abi.StreamWindow
	ended   bool      // the client sends no more
	granted int       // items taken since the last credit was given
	credit  int       // items that may be sent
	flooded bool
	refused *Error        // an item that the library denied
	arrival chan struct{} // of size 1: an item, or the end
	room    chan struct{} // of size 1: a credit
}

// Ordinal is the method's number in its interface.
func (c *ServerCall) Ordinal() uint32 { return c.h.Method }

// Method is the method's name without package and service.
func (c *ServerCall) Method() string { return c.method.Name }

// Metadata is what came with the call; nil if nothing.
func (c *ServerCall) Metadata() Metadata { return c.metadata }

// Answer gives metadata to go with the next message of the answer. A key that
// the system does not declare is an error.
func (c *ServerCall) Answer(md Metadata) error {
	for k, v := range md {
		if _, ok := c.gate.link.keys[strings.ToLower(k)]; !ok {
			return undeclared(k, c.gate.link.Metadata)
		}
		if c.answer == nil {
			c.answer = Metadata{}
		}
		c.answer[strings.ToLower(k)] = v
	}
	return nil
}

// Recv returns the request, or the next item of the client's stream, and
// io.EOF after the last. The slice is valid until the next Recv.
func (c *ServerCall) Recv() ([]byte, error) {
	if !c.method.ClientStream {
		if c.taken {
			return nil, io.EOF
		}
		c.taken = true
		return c.request, nil
	}
	var item []byte
	err := c.RecvTo(func(b []byte) error { item = append([]byte{}, b...); return nil })
	return item, err
}

// RecvTo is Recv for callers that decode straight from the packet. item must
// not keep its argument.
func (c *ServerCall) RecvTo(item func([]byte) error) error {
	if !c.method.ClientStream {
		b, err := c.Recv()
		if err != nil {
			return err
		}
		return item(b)
	}
	m, err := c.next()
	if err != nil {
		return err
	}
	defer m.free()
	_, body, err := c.gate.link.split(m.Flags, m.payload())
	if err != nil {
		return err
	}
	return item(body)
}

// next takes the next item of the client's stream.
func (c *ServerCall) next() (message, error) {
	g := c.gate
	for {
		g.mu.Lock()
		if len(c.items) > 0 {
			m := c.items[0]
			c.items = append(c.items[:0], c.items[1:]...)
			c.granted++
			grant := c.granted >= abi.StreamCredit && !c.ended
			if grant {
				c.granted = 0
			}
			g.mu.Unlock()
			if grant {
				c.grant()
			}
			return m, nil
		}
		ended, flooded, refused, arrival := c.ended, c.flooded, c.refused, channel(&c.arrival)
		g.mu.Unlock()
		switch {
		case refused != nil:
			return message{}, refused
		case flooded:
			return message{}, Errorf(ResourceExhausted, "the client sends more than its stream allows")
		case ended:
			return message{}, io.EOF
		}
		select {
		case <-arrival:
		case <-c.ctx.Done():
			if err := c.ctx.Err(); err != nil {
				return message{}, g.link.heardOf(AsError(err))
			}
		}
	}
}

// Send sends the reply, or an item of the server's stream, encoded. It waits
// while the client is slow to take items. An error that is Denied says that the
// kernel kept the message from the client, who knows.
func (c *ServerCall) Send(item []byte) error {
	return c.SendFrom(func(b []byte) ([]byte, error) { return append(b, item...), nil })
}

// SendFrom is Send for callers that encode straight into the packet: item
// appends the encoded message to its argument.
func (c *ServerCall) SendFrom(item func([]byte) ([]byte, error)) error {
	kind := abi.KindReply
	if c.method.ServerStream {
		kind = abi.KindStreamItem
		if err := c.reserve(); err != nil {
			return err
		}
	} else if c.last.Load() {
		return Errorf(Internal, "%s was answered twice", c.gate.link.method(c.h.Method))
	}
	return c.send(kind, item)
}

// reserve takes a credit.
func (c *ServerCall) reserve() error {
	g := c.gate
	for {
		g.mu.Lock()
		if c.credit > 0 {
			c.credit--
			g.mu.Unlock()
			return nil
		}
		room := channel(&c.room)
		g.mu.Unlock()
		select {
		case <-room:
		case <-c.ctx.Done():
			if err := c.ctx.Err(); err != nil {
				return g.link.heardOf(AsError(err))
			}
		}
	}
}

// send sends one message of the answer, the metadata first.
func (c *ServerCall) send(kind abi.Kind, body func([]byte) ([]byte, error)) error {
	out := startPacket()
	defer out.free()
	h := abi.Header{Kind: kind, Slot: c.h.Slot, Gen: c.h.Gen, Method: c.h.Method}
	var err error
	if len(c.answer) > 0 {
		h.Flags = abi.FlagMetadata
		if out.b, err = c.gate.link.appendMetadata(out.b, c.answer); err != nil {
			return err
		}
	}
	if out.b, err = body(out.b); err != nil {
		return err
	}
	if err := c.gate.link.fits(h.Method, out.b); err != nil {
		return err
	}
	c.answer = nil
	if kind != abi.KindStreamItem {
		c.last.Store(true)
		c.gate.forget(c)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	r, detail, err := c.gate.link.submit(context.Background(), &h, out.b)
	switch {
	case err != nil:
		return c.gate.link.heardOf(&Error{Code: Unavailable, Message: "the client has gone"})
	case r.Allowed():
		return nil
	case r == abi.ReasonClosed:
		c.gate.fail(io.EOF) // the client learns it from the end of file
	}
	return denied("the reply of "+c.gate.link.method(h.Method), r, detail, c.gate.link.Policies)
}

// finish sends the last message, if the handler has not.
func (c *ServerCall) finish(err error) {
	none := func(b []byte) ([]byte, error) { return b, nil }
	switch {
	case c.last.Load():
		// Answered: an error that comes after the reply has nobody to go to.
	case err != nil:
		e := AsError(err)
		c.fail(e)
	case c.method.ServerStream:
		c.send(abi.KindStreamEnd, none)
	default:
		c.fail(&Error{Code: Internal, Message: c.gate.link.method(c.h.Method) + " returned without an answer"})
	}
	if !c.last.Load() {
		// The metadata or the encoding of the error failed; the caller must not wait for ever.
		c.answer = nil
		c.fail(&Error{Code: Internal, Message: "the answer could not be sent"})
	}
	c.ctx.cancel(context.Canceled)
}

// fail ends the call with an error: of a terse method with what of it may pass.
func (c *ServerCall) fail(e *Error) {
	if c.method.Terse {
		e, c.answer = e.code(), nil
	}
	c.send(abi.KindError, func(b []byte) ([]byte, error) { return appendStatus(b, e), nil })
}

// grant tells the client that abi.StreamCredit items were taken.
func (c *ServerCall) grant() {
	var packet [abi.HeaderSize]byte
	h := abi.Header{Kind: abi.KindCredit, Slot: c.h.Slot, Gen: c.h.Gen, Method: c.h.Method}
	h.Put(packet[:])
	c.sending.Lock()
	defer c.sending.Unlock()
	if !c.last.Load() {
		c.gate.link.send(&c.ctx, packet[:])
	}
}

// deliver takes a message of the call; it is called by a reader. It reports
// whether it kept buf.
//
// Preconditions: gate.mu is held.
func (c *ServerCall) deliver(m *message, buf *buffer) (kept bool) {
	switch {
	case m.Kind == abi.KindCancel:
		c.ctx.cancel(context.Canceled)
	case c.flow == nil:
		c.ctx.cancel(context.Canceled) // no filter lets this through
	case m.Kind == abi.KindStreamEnd:
		c.ended = true
		notify(&c.arrival)
	case m.Kind == abi.KindCredit && c.credit+abi.StreamCredit <= abi.StreamWindow:
		c.credit += abi.StreamCredit
		notify(&c.room)
	case m.Kind == abi.KindStreamItem && len(c.items) < abi.StreamWindow:
		kept = m.keep(buf)
		c.items = append(c.items, *m)
		notify(&c.arrival)
	default:
		c.flooded, c.ended = true, true
		c.ctx.cancel(context.Canceled)
		notify(&c.arrival)
	}
	return kept
}

// wakeAll wakes who waits in the call, to look at its context.
func (c *ServerCall) wakeAll() {
	if c.flow == nil {
		return
	}
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	notify(&c.arrival)
	notify(&c.room)
}

// channel makes a channel of size 1 when it is first needed.
func channel(c *chan struct{}) chan struct{} {
	if *c == nil {
		*c = make(chan struct{}, 1)
	}
	return *c
}

func notify(c *chan struct{}) {
	select {
	case channel(c) <- struct{}{}:
	default:
	}
}
