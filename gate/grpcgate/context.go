package grpcgate

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"ward/abi"
	"ward/gate"
)

// The keys under which gRPC keeps its values in contexts are private. A handler
// asks for few of them, mostly for none; so that a call does not build three
// contexts for nothing, the keys are learned once and answered on demand.
var (
	streamKey   = learn(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
	incomingKey = learn(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	peerKey     = learn(func(ctx context.Context) { peer.FromContext(ctx) })
)

type probe struct {
	context.Context
	key *any
}

func (p probe) Value(key any) any { *p.key = key; return nil }

func learn(ask func(context.Context)) any {
	var key any
	ask(probe{context.Background(), &key})
	return key
}

// handlerContext is a handler's context, and the stream that grpc.SetHeader and
// its like find in it.
type handlerContext struct {
	context.Context
	call    *gate.ServerCall
	method  string // "/pkg.Service/Method"
	trailer metadata.MD
}

func (c *handlerContext) Value(key any) any {
	switch key {
	case streamKey:
		return grpc.ServerTransportStream(c)
	case incomingKey:
		return fromGate(c.call.Metadata())
	case peerKey:
		p, _ := gate.PeerFrom(c.Context)
		return &peer.Peer{Addr: Addr(p), AuthInfo: AuthInfo{p}}
	}
	return c.Context.Value(key)
}

// AfterFunc passes on what package context uses to derive contexts cheaply.
func (c *handlerContext) AfterFunc(f func()) (stop func() bool) {
	return context.AfterFunc(c.Context, f)
}

// Method implements grpc.ServerTransportStream.
func (c *handlerContext) Method() string { return c.method }

// SetHeader implements grpc.ServerTransportStream.
func (c *handlerContext) SetHeader(md metadata.MD) error {
	out, err := toGate(md)
	if err != nil {
		return toGRPC(err)
	}
	return toGRPC(c.call.Answer(out))
}

// SendHeader is SetHeader: the header travels with the first message.
func (c *handlerContext) SendHeader(md metadata.MD) error { return c.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (c *handlerContext) SetTrailer(md metadata.MD) error {
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

// flush adds the trailer to the message that comes next, the last.
func (c *handlerContext) flush() error {
	if c.trailer == nil {
		return nil
	}
	md, err := toGate(c.trailer)
	if err != nil {
		return err
	}
	return c.call.Answer(md)
}

// Addr is the address of a gate's peer.
type Addr abi.Peer

// Network implements net.Addr.
func (Addr) Network() string { return "ward" }

// String names the domain or the user.
func (a Addr) String() string {
	if a.Domain == abi.NoDomain {
		return "user:" + a.Name
	}
	return "domain:" + a.Name
}

// AuthInfo is who calls, for code that asks peer.FromContext.
type AuthInfo struct{ Peer abi.Peer }

// AuthType implements credentials.AuthInfo.
func (AuthInfo) AuthType() string { return "ward" }
