package gate

import (
	"context"
	"sync"
	"time"

	"ward/abi"
)

// callContext is the context of a handler. A call that nobody watches costs
// neither a timer nor a channel: both are made by the first who asks.
type callContext struct {
	parent   context.Context // for values only
	link     *link
	deadline time.Time // zero: none

	mu    sync.Mutex
	err   error
	done  chan struct{}
	timer *time.Timer
	after map[*func()]struct{}
}

type peerKey struct{}

// PeerFrom returns who called, in a handler's context or one made from it: a
// domain, or a user of a program outside Ward. It is what the monitor learned
// from the kernel when the gate was made, never what the caller says.
func PeerFrom(ctx context.Context) (abi.Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(*abi.Peer)
	if !ok {
		return abi.Peer{}, false
	}
	return *p, true
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *callContext) Value(key any) any {
	switch key.(type) {
	case peerKey:
		return &c.link.Peer
	case linkKey:
		return c.link
	}
	return c.parent.Value(key)
}

func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	c.arm()
	return c.done
}

func (c *callContext) Err() error {
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.cancel(context.DeadlineExceeded)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is what package context uses to derive contexts without a goroutine each.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	c.arm()
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.after[key]
		delete(c.after, key)
		return ok
	}
}

// arm starts the timer of the deadline.
//
// Preconditions: c.mu is held.
func (c *callContext) arm() {
	if c.err == nil && c.timer == nil && !c.deadline.IsZero() {
		c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.cancel(context.DeadlineExceeded) })
	}
}

// cancel ends the context with err, unless it has ended.
func (c *callContext) cancel(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for f := range after {
		go (*f)()
	}
}
