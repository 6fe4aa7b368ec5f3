package grpcgate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"ward/abi"
	"ward/gate"
)

var _ grpc.ServiceRegistrar = (*Server)(nil)

// Server serves generated gRPC services on gates.
type Server struct {
	unary  []grpc.UnaryServerInterceptor
	stream []grpc.StreamServerInterceptor

	mu       sync.Mutex
	services map[string]*service
	running  []*gate.Service
	serving  bool
	first    func(*gate.Service) // of Stop or GracefulStop: what a service is ended with; nil: it is to run
	stopped  chan struct{}
	stop     sync.Once
}

// ServerOption changes a Server.
type ServerOption func(*Server)

// UnaryInterceptor adds an interceptor for unary calls; the first given is the outermost.
func UnaryInterceptor(i grpc.UnaryServerInterceptor) ServerOption {
	return func(s *Server) { s.unary = append(s.unary, i) }
}

// StreamInterceptor adds an interceptor for streams; the first given is the outermost.
func StreamInterceptor(i grpc.StreamServerInterceptor) ServerOption {
	return func(s *Server) { s.stream = append(s.stream, i) }
}

// NewServer makes a server without services.
func NewServer(opts ...ServerOption) *Server {
	s := &Server{services: map[string]*service{}, stopped: make(chan struct{})}
	for _, f := range opts {
		f(s)
	}
	return s
}

// RegisterService adds a service. Generated code calls it, before Serve.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if impl != nil {
		want := reflect.TypeOf(desc.HandlerType).Elem()
		if got := reflect.TypeOf(impl); !got.Implements(want) {
			panic(fmt.Sprintf("grpcgate: %v does not implement %v", got, want))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		panic("grpcgate: RegisterService after Serve: " + desc.ServiceName)
	}
	if s.services[desc.ServiceName] != nil {
		panic("grpcgate: service registered twice: " + desc.ServiceName)
	}
	s.services[desc.ServiceName] = newService(s, desc, impl)
}

// Handler returns the handler of a registered service, for gates that the
// caller makes itself (gate.ServeEnd); nil if there is none.
func (s *Server) Handler(iface string) gate.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.services[iface]; v != nil {
		return v
	}
	return nil
}

// Listen stands for net.Listen: the domain that this program runs as.
func Listen() (net.Listener, error) {
	d, err := gate.Self()
	if err != nil {
		return nil, err
	}
	return ListenAs(d), nil
}

// ListenAs is Listen for a domain that the caller has.
func ListenAs(d *gate.Domain) net.Listener { return &listener{domain: d} }

// listener only tells Serve which domain it is: gates come from the monitor.
type listener struct{ domain *gate.Domain }

func (*listener) Accept() (net.Conn, error) {
	return nil, errors.New("grpcgate: this listener carries gates, not connections; use it with grpcgate.Server")
}
func (*listener) Close() error     { return nil }
func (l *listener) Addr() net.Addr { return Addr(abi.Peer{Name: l.domain.Name()}) }

// Serve serves every registered service until Stop or GracefulStop, then it
// returns nil; after one of them, grpc.ErrServerStopped. lis comes from Listen.
func (s *Server) Serve(lis net.Listener) error {
	l, ok := lis.(*listener)
	if !ok {
		return fmt.Errorf("grpcgate: Serve needs the listener of grpcgate.Listen, not %T", lis)
	}
	s.mu.Lock()
	if s.first != nil {
		s.mu.Unlock()
		return grpc.ErrServerStopped
	}
	s.serving = true
	services := make([]*service, 0, len(s.services))
	for _, v := range s.services {
		services = append(services, v)
	}
	s.mu.Unlock()
	for _, v := range services {
		r, err := l.domain.Start(context.Background(), v.desc.ServiceName, v)
		if err != nil {
			s.Stop()
			return toGRPC(err)
		}
		if first := s.runs(r); first != nil { // stopped meanwhile: nobody else knows of it
			first(r)
			r.Close()
			break
		}
	}
	<-s.stopped
	return nil
}

// runs notes a service that was started, unless the server was stopped
// meanwhile: then it returns what the service is to be ended with.
func (s *Server) runs(r *gate.Service) (first func(*gate.Service)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.running = append(s.running, r)
	}
	return s.first
}

// Stop withdraws the services and cancels the calls that run.
func (s *Server) Stop() { s.end(func(*gate.Service) {}) }

// GracefulStop withdraws the services, and waits for the calls that run.
func (s *Server) GracefulStop() {
	s.end(func(r *gate.Service) { r.Drain(context.Background()) })
}

func (s *Server) end(first func(*gate.Service)) {
	s.mu.Lock()
	running := s.running
	s.running = nil
	if s.first == nil {
		s.first = first
	}
	s.mu.Unlock()
	for _, r := range running {
		first(r)
		r.Close()
	}
	s.stop.Do(func() { close(s.stopped) })
}

// method is one method of a service.
type method struct {
	name  string // "/pkg.Service/Method"
	unary *grpc.MethodDesc
	many  *grpc.StreamDesc // if unary is nil
}

// service is a registered service as a gate.Handler.
type service struct {
	server  *Server
	desc    *grpc.ServiceDesc
	impl    any
	methods map[string]*method
	unary   grpc.UnaryServerInterceptor
}

func newService(s *Server, desc *grpc.ServiceDesc, impl any) *service {
	v := &service{server: s, desc: desc, impl: impl, methods: map[string]*method{}, unary: chainUnary(s.unary)}
	name := func(m string) string { return "/" + desc.ServiceName + "/" + m }
	for i := range desc.Methods {
		m := &desc.Methods[i]
		v.methods[m.MethodName] = &method{name: name(m.MethodName), unary: m}
	}
	for i := range desc.Streams {
		m := &desc.Streams[i]
		v.methods[m.StreamName] = &method{name: name(m.StreamName), many: m}
	}
	return v
}

// Handle implements gate.Handler.
func (v *service) Handle(ctx context.Context, call *gate.ServerCall) error {
	m := v.methods[call.Method()]
	if m == nil {
		return gate.Errorf(gate.Unimplemented, "%s has no method %s", v.desc.ServiceName, call.Method())
	}
	c := &handlerContext{Context: ctx, call: call, method: m.name}
	if m.unary != nil {
		return v.callUnary(c, m.unary)
	}
	return v.callStream(c, m.many)
}

// decode decodes the request of a unary call.
func (c *handlerContext) decode(to any) error {
	b, err := c.call.Recv()
	if err != nil {
		return err
	}
	return parseMessage(b, to)
}

func (v *service) callUnary(c *handlerContext, m *grpc.MethodDesc) error {
	reply, err := m.Handler(v.impl, c, c.decode, v.unary)
	if flushed := c.flush(); err == nil {
		err = flushed
	}
	if err != nil {
		return fromGRPC(err)
	}
	return c.call.SendFrom(func(b []byte) ([]byte, error) { return appendMessage(b, reply) })
}

func (v *service) callStream(c *handlerContext, m *grpc.StreamDesc) error {
	s := &serverStream{ctx: c, single: !m.ServerStreams}
	info := &grpc.StreamServerInfo{FullMethod: c.method, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams}
	err := chainStream(v.server.stream, info, m.Handler)(v.impl, s)
	if flushed := c.flush(); err == nil {
		err = flushed
	}
	if err != nil {
		return fromGRPC(err)
	}
	if s.reply != nil {
		return c.call.Send(s.reply)
	}
	return nil
}

// serverStream is a grpc.ServerStream over a call.
type serverStream struct {
	ctx    *handlerContext
	single bool   // the server answers with one message, sent when the handler returns
	reply  []byte // that message, encoded
}

func (s *serverStream) SetHeader(md metadata.MD) error  { return s.ctx.SetHeader(md) }
func (s *serverStream) SendHeader(md metadata.MD) error { return s.ctx.SendHeader(md) }
func (s *serverStream) SetTrailer(md metadata.MD)       { s.ctx.SetTrailer(md) }
func (s *serverStream) Context() context.Context        { return s.ctx }

func (s *serverStream) SendMsg(m any) error {
	if !s.single {
		return toGRPC(s.ctx.call.SendFrom(func(b []byte) ([]byte, error) { return appendMessage(b, m) }))
	}
	if s.reply != nil {
		return toGRPC(gate.Errorf(gate.Internal, "%s was answered twice", s.ctx.method))
	}
	b, err := appendMessage([]byte{}, m)
	if err != nil {
		return toGRPC(err)
	}
	s.reply = b
	return nil
}

func (s *serverStream) RecvMsg(m any) error {
	return toGRPC(s.ctx.call.RecvTo(func(b []byte) error { return parseMessage(b, m) }))
}

func chainUnary(list []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(list) == 0 {
		return nil
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		next := handler
		for i := len(list) - 1; i > 0; i-- {
			inner, f := next, list[i]
			next = func(ctx context.Context, req any) (any, error) { return f(ctx, req, info, inner) }
		}
		return list[0](ctx, req, info, next)
	}
}

func chainStream(list []grpc.StreamServerInterceptor, info *grpc.StreamServerInfo, handler grpc.StreamHandler) grpc.StreamHandler {
	next := handler
	for i := len(list) - 1; i >= 0; i-- {
		inner, f := next, list[i]
		next = func(srv any, ss grpc.ServerStream) error { return f(srv, ss, info, inner) }
	}
	return next
}
