package gate

import (
	"context"
	"fmt"

	"ward/abi"
)

// An Exchange is the request and the reply of one unary call, for callers that
// want no copies: the request is encoded straight into the packet, the reply
// decoded straight from it.
type Exchange interface {
	// AppendRequest appends the encoded request to b.
	AppendRequest(b []byte) ([]byte, error)
	// ParseReply decodes the reply. It must not keep body or md's map beyond the call.
	ParseReply(body []byte, md Metadata) error
}

// Invoke calls a unary method, named without package and service, and returns
// the encoded reply. The deadline of ctx travels with the call. Errors are
// *Error values.
func (c *Client) Invoke(ctx context.Context, method string, request []byte, md Metadata) ([]byte, error) {
	o, ok := c.link.ordinals[method]
	if !ok {
		return nil, &Error{Code: Unimplemented, Message: fmt.Sprintf("%s has no method %s", c.link.Interface, method)}
	}
	x := rawExchange{request: request}
	if err := c.Call(ctx, o, &x, md); err != nil {
		return nil, err
	}
	return x.reply, nil
}

type rawExchange struct{ request, reply []byte }

func (x *rawExchange) AppendRequest(b []byte) ([]byte, error) { return append(b, x.request...), nil }
func (x *rawExchange) ParseReply(body []byte, _ Metadata) error {
	x.reply = append([]byte{}, body...)
	return nil
}

// Call calls the unary method with this ordinal. An error of the server's
// answer is an *Error, and so are all others but those of x.
func (c *Client) Call(ctx context.Context, method uint32, x Exchange, md Metadata) error {
	if err := c.unary(method); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	out := startPacket()
	defer out.free()
	h := abi.Header{Kind: abi.KindCall, Method: method}
	var err error
	if len(md) > 0 {
		h.Flags = abi.FlagMetadata
		if out.b, err = c.link.appendMetadata(out.b, md); err != nil {
			return err
		}
	}
	if out.b, err = x.AppendRequest(out.b); err != nil {
		return err
	}
	if err := c.link.fits(method, out.b); err != nil {
		return err
	}
	reply, err := c.roundTrip(ctx, &h, out.b)
	if err != nil {
		return err
	}
	defer reply.free()
	return c.answer(&reply, x)
}

// roundTrip sends a call and waits for its last message.
func (c *Client) roundTrip(ctx context.Context, h *abi.Header, packet []byte) (message, error) {
	if !c.link.enter() {
		return message{}, c.Err()
	}
	defer c.link.leave()
	c.mu.Lock()
	i, err := c.acquire(ctx)
	if err != nil {
		c.mu.Unlock()
		return message{}, err
	}
	s := &c.slots[i]
	s.unary.reset()
	h.Slot, h.Gen, h.Deadline = uint16(i), s.gen, bootDeadline(ctx)
	c.mu.Unlock()

	if err := c.transmit(ctx, h, packet); err != nil {
		c.mu.Lock()
		c.release(i) // the kernel did not take the call
		c.mu.Unlock()
		return message{}, err
	}
	c.mu.Lock()
	if err := c.wait(ctx, &s.unary); err != nil {
		s.abandoned = true
		ok := c.err == nil
		c.mu.Unlock()
		if ok {
			c.cancel(i, h.Gen, h.Method)
		}
		return message{}, err
	}
	reply := s.reply
	s.reply.buf = nil
	c.release(i)
	c.mu.Unlock()
	return reply, nil
}

// answer makes the outcome of a call from its last message.
func (c *Client) answer(m *message, x Exchange) error {
	if m.denied {
		return replyDenied(c.link.method(m.Method))
	}
	md, body, err := c.link.split(m.Flags, m.payload())
	if err != nil {
		return c.link.broken(err)
	}
	switch m.Kind {
	case abi.KindReply:
		return x.ParseReply(body, md)
	case abi.KindError:
		return c.link.received(m.Method, body, md)
	}
	return &Error{Code: Internal, Message: fmt.Sprintf("%s was answered with a message of kind %d", c.link.method(m.Method), m.Kind)}
}

func replyDenied(method string) *Error {
	return &Error{Code: PermissionDenied, ReplyDenied: true, Message: "the reply was denied: " + method}
}

func (c *Client) unary(method uint32) error {
	if int64(method) >= int64(len(c.link.Methods)) {
		return &Error{Code: Unimplemented, Message: fmt.Sprintf("%s has no method %d", c.link.Interface, method)}
	}
	if m := c.link.Methods[method]; m.ClientStream || m.ServerStream {
		return &Error{Code: Internal, Message: c.link.method(method) + " streams: use NewStream"}
	}
	return nil
}

// fits refuses what no filter would let pass, with a clearer error.
func (l *link) fits(method uint32, packet []byte) error {
	n := len(packet) - abi.HeaderSize
	if len(packet) > abi.MaxMessage {
		return &Error{Code: ResourceExhausted, Message: fmt.Sprintf("%s: a message of %d bytes; a gate carries %d: pass bulk data as a memory handle", l.method(method), n, abi.MaxMessage-abi.HeaderSize)}
	}
	return nil
}
