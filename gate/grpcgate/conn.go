package grpcgate

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"ward/abi"
	"ward/gate"
)

var _ grpc.ClientConnInterface = (*Conn)(nil)

// Conn carries calls over gates, one gate for each interface. A gate that
// breaks is opened again by the next call. Its methods may be called from
// several goroutines.
type Conn struct {
	open func(ctx context.Context, iface string, wait bool) (*gate.Client, error)

	known atomic.Pointer[map[string]entry] // by "/pkg.Service/Method"; replaced, never changed

	mu     sync.RWMutex
	gates  map[string]*gate.Client // by interface
	closed bool
}

// entry is a method whose gate was open when it was last looked for.
type entry struct {
	gate    *gate.Client
	ordinal uint32
}

// DialOption changes how Dial connects.
type DialOption func(*dialOptions)

type dialOptions struct {
	domain *gate.Domain
	socket string
	server string
	noWait bool
}

// WithDomain makes Dial use this domain instead of gate.Self.
func WithDomain(d *gate.Domain) DialOption { return func(o *dialOptions) { o.domain = d } }

// WithSocket is for programs outside Ward: path is the socket of an export.
func WithSocket(path string) DialOption { return func(o *dialOptions) { o.socket = path } }

// WithServer names the server instead of looking it up.
func WithServer(domain string) DialOption { return func(o *dialOptions) { o.server = domain } }

// WithoutWait makes Dial fail at once if no domain serves the interface now.
func WithoutWait() DialOption { return func(o *dialOptions) { o.noWait = true } }

// startTime is how long Dial waits for a server that has not started yet, if
// its context has no deadline.
const startTime = 10 * time.Second

// Dial opens a gate to an interface, named in full. Since the domains of a
// system start at the same time, it waits for a domain to serve the interface:
// until the deadline of ctx, or ten seconds. Gates to other interfaces are
// opened by the first call of them.
func Dial(ctx context.Context, iface string, opts ...DialOption) (*Conn, error) {
	var o dialOptions
	for _, f := range opts {
		f(&o)
	}
	c := &Conn{gates: map[string]*gate.Client{}, open: o.open}
	if _, ok := ctx.Deadline(); !ok {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, startTime)
		defer cancel()
	}
	if _, err := c.gate(ctx, iface, !o.noWait); err != nil {
		return nil, toGRPC(err)
	}
	return c, nil
}

func (o *dialOptions) open(ctx context.Context, iface string, wait bool) (*gate.Client, error) {
	if o.socket != "" {
		c, err := gate.DialSocket(ctx, o.socket)
		if err == nil && c.Interface() != iface {
			c.Close()
			return nil, gate.Errorf(gate.Unimplemented, "%s exports %s, not %s", o.socket, c.Interface(), iface)
		}
		return c, err
	}
	d := o.domain
	if d == nil {
		var err error
		if d, err = gate.Self(); err != nil {
			return nil, gate.Errorf(gate.FailedPrecondition, "%v", err)
		}
	}
	var opts []gate.OpenOption
	if o.server != "" {
		opts = append(opts, gate.At(o.server))
	}
	if wait {
		opts = append(opts, gate.Wait())
	}
	return d.Open(ctx, iface, opts...)
}

// NewConn makes a connection of a gate that is open already; it cannot be opened again.
func NewConn(c *gate.Client) *Conn {
	return &Conn{
		gates: map[string]*gate.Client{c.Interface(): c},
		open: func(_ context.Context, iface string, _ bool) (*gate.Client, error) {
			if iface == c.Interface() {
				return nil, c.Err()
			}
			return nil, gate.Errorf(gate.Unimplemented, "this connection carries %s only, not %s", c.Interface(), iface)
		},
	}
}

// gate returns the gate of an interface, and opens it if need be.
func (c *Conn) gate(ctx context.Context, iface string, wait bool) (*gate.Client, error) {
	c.mu.RLock()
	g, closed := c.gates[iface], c.closed
	c.mu.RUnlock()
	if closed {
		return nil, gate.Errorf(gate.Canceled, "the connection was closed")
	}
	if g != nil && !g.Broken() {
		return g, nil
	}
	opened, err := c.open(ctx, iface, wait)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		opened.Close()
		return nil, gate.Errorf(gate.Canceled, "the connection was closed")
	}
	if g := c.gates[iface]; g != nil && !g.Broken() {
		opened.Close() // somebody else was faster
		return g, nil
	}
	c.gates[iface] = opened
	return opened, nil
}

// Close closes the gates; calls that are pending fail with Canceled.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, g := range c.gates {
		g.Close()
	}
	return nil
}

// callOptions are those that a gate can honour.
type callOptions struct {
	header, trailer *metadata.MD
	wait            bool
}

func parseOptions(opts []grpc.CallOption) (o callOptions, err error) {
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.HeaderCallOption:
			o.header = opt.HeaderAddr
		case grpc.TrailerCallOption:
			o.trailer = opt.TrailerAddr
		case grpc.FailFastCallOption:
			o.wait = !opt.FailFast
		case grpc.ForceCodecCallOption, grpc.ForceCodecV2CallOption, grpc.CustomCodecCallOption, grpc.CompressorCallOption, grpc.ContentSubtypeCallOption:
			return o, gate.Errorf(gate.Unimplemented, "%T: gates carry plain protobuf only", opt)
		}
	}
	return o, nil
}

// find returns the gate and the ordinal of "/pkg.Service/Method".
func (c *Conn) find(ctx context.Context, method string, wait bool) (*gate.Client, uint32, error) {
	if m := c.known.Load(); m != nil {
		if e, ok := (*m)[method]; ok && !e.gate.Broken() {
			return e.gate, e.ordinal, nil
		}
	}
	service, name, ok := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if !ok {
		return nil, 0, gate.Errorf(gate.Internal, "malformed method name %q", method)
	}
	g, err := c.gate(ctx, service, wait)
	if err != nil {
		return nil, 0, err
	}
	o, ok := g.Ordinal(name)
	if !ok {
		return nil, 0, gate.Errorf(gate.Unimplemented, "%s has no method %s", service, name)
	}
	c.remember(method, entry{g, o})
	return g, o, nil
}

// remember adds a method to known. The methods of an interface are few, so
// copying is no cost.
func (c *Conn) remember(method string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	m := map[string]entry{}
	if old := c.known.Load(); old != nil {
		m = maps.Clone(*old)
	}
	m[method] = e
	c.known.Store(&m)
}

// exchange encodes and decodes one unary call.
type exchange struct {
	args, reply any
	md          gate.Metadata
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) AppendRequest(b []byte) ([]byte, error) { return appendMessage(b, x.args) }
func (x *exchange) ParseReply(body []byte, md gate.Metadata) error {
	x.md = md
	return parseMessage(body, x.reply)
}

// Invoke makes a unary call. It implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	o, err := parseOptions(opts)
	if err != nil {
		return toGRPC(err)
	}
	g, ordinal, err := c.find(ctx, method, o.wait)
	if err != nil {
		return toGRPC(err)
	}
	md, err := outgoing(ctx)
	if err != nil {
		return toGRPC(err)
	}
	x := exchanges.Get().(*exchange)
	x.args, x.reply = args, reply
	err = g.Call(ctx, ordinal, x, md)
	answer := x.md
	*x = exchange{}
	exchanges.Put(x)
	if o.header != nil || o.trailer != nil {
		if err != nil {
			answer = gate.AsError(err).Metadata
		}
		o.set(fromGate(answer))
	}
	if err != nil {
		return toGRPC(err)
	}
	return nil
}

func (o *callOptions) set(md metadata.MD) {
	if o.header != nil {
		*o.header = md
	}
	if o.trailer != nil {
		*o.trailer = md.Copy()
	}
}

func outgoing(ctx context.Context) (gate.Metadata, error) {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		return nil, nil
	}
	return toGate(md)
}

// Peer returns who serves an interface whose gate is open.
func (c *Conn) Peer(iface string) (abi.Peer, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.gates[iface]
	if g == nil {
		return abi.Peer{}, false
	}
	return g.Peer(), true
}

// NewStream starts a call that streams. It implements grpc.ClientConnInterface.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	o, err := parseOptions(opts)
	if err != nil {
		return nil, toGRPC(err)
	}
	g, ordinal, err := c.find(ctx, method, o.wait)
	if err != nil {
		return nil, toGRPC(err)
	}
	md, err := outgoing(ctx)
	if err != nil {
		return nil, toGRPC(err)
	}
	st, err := g.NewStream(ctx, g.Methods()[ordinal].Name, md)
	if err != nil {
		return nil, toGRPC(err)
	}
	return &clientStream{ctx: ctx, st: st, options: o}, nil
}

type clientStream struct {
	ctx     context.Context
	st      *gate.ClientStream
	options callOptions
}

func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.st.Header()
	if err != nil {
		return nil, toGRPC(err)
	}
	return fromGate(md), nil
}

func (s *clientStream) Trailer() metadata.MD     { return fromGate(s.st.Trailer()) }
func (s *clientStream) CloseSend() error         { return toGRPC(s.st.CloseSend()) }
func (s *clientStream) Context() context.Context { return s.ctx }

func (s *clientStream) SendMsg(m any) error {
	return toGRPC(s.st.SendFrom(func(b []byte) ([]byte, error) { return appendMessage(b, m) }))
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.st.RecvTo(func(b []byte) error { return parseMessage(b, m) })
	if err != nil {
		if s.options.header != nil {
			if md, err := s.st.Header(); err == nil {
				*s.options.header = fromGate(md)
			}
		}
		if s.options.trailer != nil {
			*s.options.trailer = s.Trailer()
		}
	}
	return toGRPC(err)
}
