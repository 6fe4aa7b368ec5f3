package gate

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"ward/abi"
)

// A waiter is a goroutine that waits for something that comes through the
// gate: its reply, an item, a credit, a free slot. Guarded by Client.mu.
type waiter struct {
	ready      chan struct{} // of size 1: look again
	done       bool          // what was waited for has come
	parked     bool
	prev, next *waiter
}

func (w *waiter) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// finish says that what w waits for has come.
func (w *waiter) finish() {
	w.done = true
	if w.parked {
		w.wake()
	}
}

// reset prepares w for its next wait.
func (w *waiter) reset() {
	w.done = false
	select {
	case <-w.ready:
	default:
	}
}

// parked is the list of waiters that do not lead.
type parked struct{ head, tail *waiter }

func (p *parked) push(w *waiter) {
	w.parked, w.prev, w.next = true, p.tail, nil
	if p.tail == nil {
		p.head = w
	} else {
		p.tail.next = w
	}
	p.tail = w
}

func (p *parked) remove(w *waiter) {
	if w.prev == nil {
		p.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		p.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.parked, w.prev, w.next = false, nil, nil
}

func (p *parked) wakeAll() {
	for w := p.head; w != nil; w = w.next {
		w.wake()
	}
}

// promote wakes one waiter that can lead. One that is done needs no leader and
// passes the promotion on when it leaves.
func (p *parked) promote() {
	for w := p.head; w != nil; w = w.next {
		if !w.done {
			w.wake()
			return
		}
	}
}

// wait returns nil once w is done. Its caller leads whenever nobody else does.
// It returns the error of ctx, or of the gate if that breaks first.
//
// Preconditions: c.mu is held; it is released while waiting.
func (c *Client) wait(ctx context.Context, w *waiter) error {
	var err error
	for !w.done && c.err == nil && err == nil {
		if !c.leading {
			c.leading = true
			err = c.lead(ctx, w)
			c.leading = false
			continue
		}
		err = c.follow(ctx, w)
	}
	if !c.leading {
		c.parked.promote()
	}
	switch {
	case w.done:
		return nil
	case c.err != nil:
		return c.err
	}
	return err
}

// follow waits to be woken.
func (c *Client) follow(ctx context.Context, w *waiter) error {
	var err error
	c.parked.push(w)
	c.mu.Unlock()
	if done := ctx.Done(); done == nil {
		<-w.ready
	} else {
		select {
		case <-w.ready:
		case <-done:
			err = contextError(ctx)
		}
	}
	c.mu.Lock()
	c.parked.remove(w)
	return err
}

// lead reads the gate until w is done, the gate breaks, or ctx ends, and gives
// every message to whom it is for. For a while it just blocks in recvmsg; if
// nothing comes, it waits in ppoll, where an eventfd can wake it.
func (c *Client) lead(ctx context.Context, w *waiter) error {
	buf := receiving.Get().(*buffer)
	defer func() {
		if buf != nil {
			buf.free()
		}
	}()
	patient := c.quick && !endsSoon(ctx)
	watched := false
	woken := 0 // others that were given something since the last read
	for !w.done && c.err == nil {
		if !patient && !watched && ctx.Done() != nil {
			watched = true
			stop := context.AfterFunc(ctx, c.interrupt)
			defer stop()
		}
		c.mu.Unlock()
		if woken > 0 {
			// Let those who got their replies run, and send, before this thread
			// blocks: else each waits for another thread to come for it.
			woken = 0
			runtime.Gosched()
		}
		n, err := c.read(buf, patient)
		c.mu.Lock()
		switch {
		case err == errWoken:
			patient = false
			if ctx.Err() != nil {
				return contextError(ctx)
			}
		case err != nil:
			c.fail(c.link.broken(err))
		default:
			woken++
			if !c.dispatch(buf, n, w) {
				continue
			}
			if buf = nil; !w.done {
				buf = receiving.Get().(*buffer)
			}
		}
	}
	return nil
}

// interrupt wakes the leader.
func (c *Client) interrupt() {
	if c.link.enter() {
		signalEvent(c.link.event)
		c.link.leave()
	}
}

// endsSoon reports whether the deadline of ctx may pass while a patient read blocks.
func endsSoon(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ok && time.Until(d) < 4*patience
}

// read waits for the next packet: errWoken says that none came in time, or that
// the leader was interrupted.
func (c *Client) read(buf *buffer, patient bool) (int, error) {
	if patient {
		return c.link.recv(buf.b, 0)
	}
	if err := c.link.poll(pollIn, c.link.event); err != nil {
		return 0, err
	}
	return c.link.recv(buf.b, dontWait)
}

// dispatch gives the packet in buf to its call; own is the waiter of whoever
// leads. It reports whether it kept buf.
//
// Preconditions: c.mu is held.
func (c *Client) dispatch(buf *buffer, n int, own *waiter) (kept bool) {
	m, err := parse(buf.b[:n])
	if err != nil {
		c.fail(c.link.broken(err))
		return false
	}
	if c.link.revoked() {
		c.fail(c.link.reason())
		return false
	}
	s := &c.slots[m.Slot]
	if !s.busy || s.gen != m.Gen {
		c.fail(c.link.broken(fmt.Errorf("an answer to a call that is not pending (slot %d, generation %d)", m.Slot, m.Gen)))
		return false
	}
	if c.link.Check != nil {
		if err := c.link.incoming(&m, buf.b[abi.HeaderSize:n]); err != nil {
			c.fail(c.link.broken(err))
			return false
		}
	}
	final := m.Kind == abi.KindReply || m.Kind == abi.KindError || m.Kind == abi.KindStreamEnd
	switch {
	case s.abandoned:
		if final {
			c.release(int(m.Slot))
		}
	case s.stream != nil:
		st := s.stream
		if final {
			c.release(int(m.Slot))
		}
		return st.deliver(&m, buf, final)
	case !final:
		c.fail(c.link.broken(fmt.Errorf("a message of kind %d for a unary call", m.Kind)))
	default:
		if own == &s.unary {
			m.buf, kept = buf, true // decoded in a moment: no copy
		} else {
			kept = m.keep(buf)
		}
		s.reply = m
		s.unary.finish()
	}
	return kept
}
