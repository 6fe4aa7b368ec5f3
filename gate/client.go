package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"ward/abi"
)

// A Client calls through one end of a gate. Its methods may be called from
// several goroutines; abi.Slots calls may be pending, more wait for their turn.
type Client struct {
	link   *link
	broken atomic.Bool // err is set
	quick  bool        // reads return after patience

	mu      sync.Mutex
	err     *Error // why the gate is broken; nil while it works
	slots   [abi.Slots]slot
	free    uint64 // bit i: slot i is free
	queue   []*slotWaiter
	leading bool
	parked  parked
}

// A slot is an entry of the call table as its client sees it.
type slot struct {
	gen       uint16
	abandoned bool          // the caller has gone; the last message frees the slot
	busy      bool          // a call is pending
	waiter    *waiter       // of a unary call
	reply     message       // of a unary call, once waiter is done
	stream    *ClientStream // nil for a unary call
	unary     waiter
}

type slotWaiter struct {
	waiter
	slot int
}

// NewClient makes a client of an end. It takes the socket over, also if it fails.
func NewClient(e End) (*Client, error) {
	l, err := newLink(e)
	if err != nil {
		return nil, err
	}
	if l.event, err = newEvent(); err != nil {
		l.close()
		return nil, fmt.Errorf("gate for %s: %w", e.Interface, err)
	}
	c := &Client{link: l, quick: l.setPatience(), free: 1<<abi.Slots - 1}
	for i := range c.slots {
		c.slots[i].unary.ready = make(chan struct{}, 1)
	}
	return c, nil
}

// Interface returns the full name of the gate's interface.
func (c *Client) Interface() string { return c.link.Interface }

// Methods returns the methods of the gate's interface by ordinal. It must not be changed.
func (c *Client) Methods() []abi.ControlMethod { return c.link.Methods }

// Ordinal finds a method by its name without package and service.
func (c *Client) Ordinal(method string) (uint32, bool) {
	o, ok := c.link.ordinals[method]
	return o, ok
}

// Peer returns the server, as the monitor names it.
func (c *Client) Peer() abi.Peer { return c.link.Peer }

// Err returns why the gate is broken, and nil while it is not known to be. A
// broken gate stays so: open another.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return c.err
}

// Broken reports whether Err is not nil, and costs next to nothing.
func (c *Client) Broken() bool { return c.broken.Load() }

// Close ends the gate. Pending calls fail with Canceled; the server's handlers
// see their contexts cancelled.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(&Error{Code: Canceled, Message: "the gate for " + c.link.Interface + " was closed"})
	return nil
}

// fail breaks the gate: all that wait wake up and find err.
//
// Preconditions: c.mu is held.
func (c *Client) fail(err *Error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.broken.Store(true)
	c.parked.wakeAll()
	c.link.close()
}

// broken makes the error of a gate from the error of its socket.
func (l *link) broken(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case l.isRevoked():
		return l.reason()
	case err == io.EOF:
		return &Error{Code: Unavailable, Message: "the other end of the gate for " + l.Interface + " is closed"}
	}
	return &Error{Code: Unavailable, Message: fmt.Sprintf("gate for %s: %v", l.Interface, err)}
}

// acquire takes a free slot and starts a new generation of it; while there is
// none it waits, and reads the gate if nobody else does.
//
// Preconditions: c.mu is held.
func (c *Client) acquire(ctx context.Context) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	i := bits.TrailingZeros64(c.free)
	if c.free == 0 || len(c.queue) > 0 {
		w := &slotWaiter{waiter: waiter{ready: make(chan struct{}, 1)}}
		c.queue = append(c.queue, w)
		if err := c.wait(ctx, &w.waiter); err != nil {
			if w.done {
				c.release(w.slot)
			} else {
				c.unqueue(w)
			}
			return 0, err
		}
		i = w.slot
	} else {
		c.free &^= 1 << i
	}
	s := &c.slots[i]
	s.gen++
	s.busy, s.abandoned, s.stream, s.waiter = true, false, nil, nil
	return i, nil
}

// release gives slot i to the next that waits, or to the free list.
//
// Preconditions: c.mu is held.
func (c *Client) release(i int) {
	c.slots[i].busy, c.slots[i].stream, c.slots[i].waiter = false, nil, nil
	if len(c.queue) == 0 {
		c.free |= 1 << i
		return
	}
	w := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	w.slot = i
	w.finish()
}

func (c *Client) unqueue(w *slotWaiter) {
	for i, q := range c.queue {
		if q == w {
			c.queue = append(c.queue[:i], c.queue[i+1:]...)
			return
		}
	}
}

// transmit sends a packet of a call and returns the kernel's decision as an
// error: of the gate if it is broken (then c.err is set), else of this message.
//
// Preconditions: c.mu is not held; no other send for this slot is under way.
func (c *Client) transmit(ctx context.Context, h *abi.Header, packet []byte) error {
	r, detail, err := c.link.submit(ctx, h, packet)
	if err != nil {
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		e := c.link.broken(err)
		c.mu.Lock()
		c.fail(e)
		c.mu.Unlock()
		return e
	}
	if r.Allowed() {
		return nil
	}
	e := denied(c.link.method(h.Method), r, detail, c.link.Policies)
	if r == abi.ReasonClosed {
		e = c.link.reason()
		c.mu.Lock()
		c.fail(e)
		if c.err.Reason == abi.ReasonClosed {
			e = c.err // the monitor may have said why
		}
		c.mu.Unlock()
	}
	return e
}

// cancel tells the server that nobody waits for the call any more. It does not
// wait: a server whose queue is full finds out when it answers.
func (c *Client) cancel(slot int, gen uint16, method uint32) {
	var packet [abi.HeaderSize]byte
	h := abi.Header{Kind: abi.KindCancel, Slot: uint16(slot), Gen: gen, Method: method}
	h.Put(packet[:])
	if c.link.enter() {
		c.link.try(packet[:])
		c.link.leave()
	}
}

// contextError is the error of a call whose context has ended.
func contextError(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Code: DeadlineExceeded, Message: "the deadline passed before the answer came"}
	}
	return &Error{Code: Canceled, Message: "the caller cancelled the call"}
}
