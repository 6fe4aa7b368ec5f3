package gate

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"ward/abi"
)

// A Handler answers the calls of a gate. It is called once for each call, on
// the goroutine that read it; calls run at the same time. A nil error ends the
// call well; others go to the caller as AsError sees them. A handler that
// panics answers Internal, and the gate goes on.
type Handler interface {
	Handle(ctx context.Context, call *ServerCall) error
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, call *ServerCall) error

func (f HandlerFunc) Handle(ctx context.Context, call *ServerCall) error { return f(ctx, call) }

// serverGate is the server's end of one gate.
type serverGate struct {
	link    *link
	handler Handler
	base    context.Context

	// ordered is held while reading and handing on, if the interface has
	// clients that stream: their items must be queued in the order in which
	// they came. Other interfaces read in parallel.
	ordered  bool
	order    sync.Mutex
	pool     pool
	active   atomic.Bool // the watchdog looks at it
	calls0   uint32      // of the watchdog: pool.calls at its last round
	draining atomic.Bool
	pending  atomic.Int32 // calls whose last message was not sent

	mu        sync.Mutex
	calls     [abi.Slots]*ServerCall
	cancelled [abi.Slots]uint32 // generation + 1 of a cancel that was read before its call
	drained   chan struct{}     // closed when draining and nothing is pending
	err       error
}

// ServeEnd serves one end of a gate until ctx ends, then nil is returned, or
// until the client has gone: io.EOF. It takes the socket over, and returns
// when the last handler has.
func ServeEnd(ctx context.Context, e End, h Handler) error {
	g, err := newServerGate(ctx, e, h)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { g.fail(nil) })
	defer stop()
	if err := g.run(); ctx.Err() == nil {
		return err
	}
	return nil
}

func newServerGate(ctx context.Context, e End, h Handler) (*serverGate, error) {
	l, err := newLink(e)
	if err != nil {
		return nil, err
	}
	g := &serverGate{link: l, handler: h, base: ctx, drained: make(chan struct{})}
	l.sends = abi.Reply
	g.pool.methods = make([]pace, len(e.Methods))
	for _, m := range e.Methods {
		g.ordered = g.ordered || m.ClientStream
	}
	return g, nil
}

// run reads until the gate is closed.
func (g *serverGate) run() error {
	g.pool.start(g)
	g.pool.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// fail closes the gate: pending calls see their contexts cancelled.
func (g *serverGate) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	calls := g.calls
	g.mu.Unlock()
	g.link.cutOff()
	g.link.close()
	for _, c := range calls {
		if c != nil {
			c.ctx.cancel(context.Canceled)
			c.wakeAll()
		}
	}
}

// drain refuses new calls from now on; drained is closed when none is pending.
func (g *serverGate) drain() {
	g.draining.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pending.Load() == 0 {
		g.closeDrained()
	}
}

// closeDrained is called with g.mu held.
func (g *serverGate) closeDrained() {
	select {
	case <-g.drained:
	default:
		close(g.drained)
	}
}

// next reads one message. It returns the call if it opens one; the call's
// request is in buf.
func (g *serverGate) next(buf *buffer) (call *ServerCall, kept bool, err error) {
	if g.ordered {
		g.order.Lock()
		defer g.order.Unlock()
	}
	n, err := g.link.recv(buf.b, 0)
	if err != nil {
		return nil, false, err
	}
	m, err := parse(buf.b[:n])
	if err != nil {
		return nil, false, err
	}
	if g.link.revoked() {
		return nil, false, revocation(g.link.Interface, nil)
	}
	if g.link.Check != nil {
		if done, err := g.examine(&m, buf.b[abi.HeaderSize:n]); done || err != nil {
			return nil, false, err
		}
	}
	if m.Kind == abi.KindCall {
		call, err = g.open(&m, buf)
		return call, false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.calls[m.Slot]
	if c == nil || c.h.Gen != m.Gen {
		// The call has just ended, or, for readers in parallel, is just being opened.
		if m.Kind == abi.KindCancel {
			g.cancelled[m.Slot] = uint32(m.Gen) + 1
		}
		return nil, false, nil
	}
	return nil, c.deliver(&m, buf), nil
}

// open makes the call of an opening message.
func (g *serverGate) open(m *message, buf *buffer) (*ServerCall, error) {
	if int64(m.Method) >= int64(len(g.link.Methods)) {
		return nil, fmt.Errorf("a call of method %d, the interface has %d", m.Method, len(g.link.Methods))
	}
	c := &ServerCall{gate: g, h: m.Header, method: &g.link.Methods[m.Method]}
	if c.method.ClientStream || c.method.ServerStream {
		c.flow = &flow{credit: abi.StreamWindow}
	}
	c.ctx.parent, c.ctx.link = g.base, g.link
	if m.Deadline != 0 {
		c.ctx.deadline = time.Now().Add(time.Duration(int64(m.Deadline) - bootNow()))
	}
	var err error
	if c.metadata, c.request, err = g.link.split(m.Flags, buf.b[abi.HeaderSize:m.n]); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	if g.calls[m.Slot] != nil {
		return nil, fmt.Errorf("a call in slot %d, where one is pending", m.Slot)
	}
	g.calls[m.Slot] = c
	g.pending.Add(1)
	if g.cancelled[m.Slot] == uint32(m.Gen)+1 {
		c.ctx.cancel(context.Canceled)
	}
	g.cancelled[m.Slot] = 0
	return c, nil
}

// forget takes a call off the table, before its last message is sent: its slot
// may come again right after that.
func (g *serverGate) forget(c *ServerCall) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[c.h.Slot] != c {
		return
	}
	g.calls[c.h.Slot] = nil
	if c.flow == nil {
		return
	}
	for i := range c.items {
		c.items[i].free()
	}
	c.items = nil
}

// finished counts a call whose last message was sent.
func (g *serverGate) finished() {
	if g.pending.Add(-1) == 0 && g.draining.Load() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.closeDrained()
	}
}

// serve runs the handler and sends the last message.
func (c *ServerCall) serve() {
	defer c.gate.finished()
	if c.gate.draining.Load() {
		c.finish(Errorf(Unavailable, "the server of %s is stopping", c.gate.link.Interface))
		return
	}
	c.finish(c.handle())
}

func (c *ServerCall) handle() (err error) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("handler panicked", "method", c.gate.link.method(c.h.Method), "panic", p, "stack", string(debug.Stack()))
			err = Errorf(Internal, "the handler of %s panicked", c.gate.link.method(c.h.Method))
		}
	}()
	return c.gate.handler.Handle(&c.ctx, c)
}
