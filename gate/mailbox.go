package gate

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel/packet"
)

// ErrFull is the error of a message for which there is no room in a mailbox. It
// was not admitted, and is not in it.
var ErrFull = &Error{Code: ResourceExhausted, Message: "the mailbox is full: nobody reads it, or not fast enough"}

// An Outbox takes messages to a mailbox. They wait in the kernel until the
// mailbox's reader reads them, whether it runs now or not; nobody answers. Its
// methods may be called from several goroutines.
//
// Each Outbox has a queue of its own in the mailbox: when it is full, others are
// not. What was posted by one Outbox is read in the order of the calls of Post.
type Outbox struct {
	domain      *Domain
	iface, name string
	turn        chan struct{} // has an element while somebody posts: one at a time, in order
	gen         uint16        // of the last message; of whoever posts

	mu     sync.Mutex
	client *Client // its gate; nil: there is none yet
	closed bool
}

// OpenMailbox opens the mailbox that takes messages of an interface, named in
// full. If several do, the policy says which this domain may write to, or the
// option At names the mailbox. A refusal is an *Error that is Denied.
func (d *Domain) OpenMailbox(ctx context.Context, iface string, opts ...OpenOption) (*Outbox, error) {
	var how openOptions
	for _, f := range opts {
		f(&how)
	}
	o := &Outbox{domain: d, iface: iface, name: how.server, turn: make(chan struct{}, 1)}
	if _, err := o.gate(ctx); err != nil {
		return nil, err
	}
	return o, nil
}

// Interface returns the full name of the interface whose messages it takes.
func (o *Outbox) Interface() string { return o.iface }

// Post puts one encoded message of a method, named without package and service,
// into the mailbox. It returns when the kernel has admitted it to the queue:
// then it is there until it is read, or the system ends. It never waits for
// room: if there is none, the error is ErrFull, and Room waits. What the policy
// denies is an *Error that is Denied. ctx bounds the wait for other Posts, and
// that for the monitor where the gate has to be opened anew.
func (o *Outbox) Post(ctx context.Context, method string, message []byte) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx)
	}
	defer func() { <-o.turn }()
	for again := true; ; again = false {
		c, err := o.gate(ctx)
		if err != nil {
			return err
		}
		err = o.post(c, method, message)
		// A gate that was revoked, or that its reader has broken, did not take the
		// message: perhaps there may be another.
		if err == nil || !c.Broken() || !again {
			return err
		}
	}
}

// Room waits until there is room for more: until the reader has read most of
// what this Outbox has posted.
func (o *Outbox) Room(ctx context.Context) error {
	c, err := o.gate(ctx)
	if err != nil {
		return err
	}
	if !c.link.enter() {
		return c.Err()
	}
	defer c.link.leave()
	if err := c.link.sendable(ctx); err != nil && ctx.Err() != nil {
		return contextError(ctx)
	} else if err != nil {
		return c.broke(err)
	}
	return nil
}

// Close closes the queue. What was posted stays in it.
func (o *Outbox) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.client == nil {
		return nil
	}
	return o.client.Close()
}

// gate returns the gate to the mailbox, opened anew if it is broken.
func (o *Outbox) gate(ctx context.Context) (*Client, error) {
	o.mu.Lock()
	c, closed := o.client, o.closed
	o.mu.Unlock()
	switch {
	case closed:
		return nil, &Error{Code: Canceled, Message: "the outbox for " + o.iface + " was closed"}
	case c != nil && !c.Broken():
		return c, nil
	}
	c, err := o.domain.openMailbox(ctx, o.iface, o.name)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.client != nil && !o.client.Broken() { // meanwhile
		c.Close()
		if o.closed {
			return nil, &Error{Code: Canceled, Message: "the outbox for " + o.iface + " was closed"}
		}
		return o.client, nil
	}
	o.client = c
	return c, nil
}

// openMailbox asks the monitor for a gate to a mailbox.
func (d *Domain) openMailbox(ctx context.Context, iface, name string) (*Client, error) {
	what := "open the mailbox for " + iface
	if name != "" {
		what = fmt.Sprintf("open the mailbox %s for %s", name, iface)
	}
	a, err := d.ask(ctx, abi.Control{Op: abi.OpOpen, Interface: iface, Name: name, Access: abi.AccessPost})
	if err != nil {
		e := *AsError(err)
		e.Message = what + ": " + e.Message
		return nil, &e
	}
	switch {
	case a.Op == abi.OpRefused:
		a.close()
		e := refusal(what, d.name, &a.Control)
		if a.Reason == abi.ReasonDefault {
			e.Message = fmt.Sprintf("%s: default deny: no policy lets %s post to it", what, d.name)
		}
		return nil, e
	case a.Op != abi.OpGate || a.Access != abi.AccessPost:
		a.close()
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor answered with message %d and rights %d", what, a.Op, a.Access)}
	}
	e, err := d.end(&a)
	if err != nil {
		return nil, err
	}
	c, err := NewClient(e)
	if err == nil {
		d.remember(c)
	}
	return c, err
}

// post sends one message.
//
// Preconditions: the caller has o.turn.
func (o *Outbox) post(c *Client, method string, message []byte) error {
	ordinal, ok := c.Ordinal(method)
	if !ok {
		return &Error{Code: Unimplemented, Message: fmt.Sprintf("%s has no method %s", o.iface, method)}
	}
	out := startPacket()
	defer out.free()
	out.b = append(out.b, message...)
	if err := c.link.fits(ordinal, out.b); err != nil {
		return err
	}
	o.gen++
	return c.post(&abi.Header{Kind: abi.KindCall, Method: ordinal, Gen: o.gen}, out.b)
}

// post sends a message that nobody answers, if there is room for it. The filter
// leaves the slot free, so it is the same one each time.
//
// Preconditions: no other send for this slot is under way.
func (c *Client) post(h *abi.Header, packet []byte) error {
	if !c.link.enter() {
		return c.Err()
	}
	defer c.link.leave()
	r, detail, err := c.link.deposit(h, packet)
	switch {
	case err == error(ErrFull):
		return err
	case err != nil:
		return c.broke(err)
	case r.Allowed():
		return nil
	case r == abi.ReasonClosed:
		return c.broke(c.link.reason())
	}
	return denied(c.link.method(h.Method), r, detail, c.link.Policies)
}

// broke notes why the gate is broken, unless it is known, and returns it.
func (c *Client) broke(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(c.link.broken(err))
	return c.err
}

// deposit sends a packet without waiting, and returns the kernel's decision. If
// there is no room the filter has not seen it (unix_dgram_sendmsg, Linux 6.18).
func (l *link) deposit(h *abi.Header, b []byte) (r abi.Reason, detail uint32, err error) {
	h.Length = uint32(len(b) - abi.HeaderSize)
	h.Put(b)
	for range 8 { // one that lost a race for a word of state was not delivered
		for err = unix.EINTR; err == unix.EINTR; {
			err = packet.Send(l.Socket, b)
		}
		switch err {
		case nil:
		case unix.EAGAIN:
			return abi.ReasonNone, 0, ErrFull
		case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
			return abi.ReasonNone, 0, io.EOF
		default:
			return abi.ReasonNone, 0, fmt.Errorf("sendto: %w", err)
		}
		if r, detail = l.verdict(h); r != abi.ReasonRace {
			break
		}
	}
	return r, detail, nil
}
