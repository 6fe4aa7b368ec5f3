package grpcgate

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"ward/gate"
)

// poster is the client side of generated code that posts to a mailbox.
type poster struct{ out *gate.Outbox }

// Poster makes clients of generated code post to a mailbox. A method returns
// when its message is in the mailbox; its reply is empty, nobody answers:
//
//	box, err := d.OpenMailbox(ctx, "shop.v1.Orders")
//	orders := shopv1.NewOrdersClient(grpcgate.Poster(box))
//	_, err = orders.Place(ctx, &shopv1.Order{…})    // gate.ErrFull if there is no room (errors.Is)
func Poster(out *gate.Outbox) grpc.ClientConnInterface { return poster{out} }

// Invoke implements grpc.ClientConnInterface.
func (p poster) Invoke(ctx context.Context, method string, args, _ any, opts ...grpc.CallOption) error {
	if _, err := parseOptions(opts); err != nil {
		return toGRPC(err)
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if service != p.out.Interface() {
		return toGRPC(gate.Errorf(gate.Unimplemented, "the mailbox takes messages of %s, not of %s", p.out.Interface(), service))
	}
	if md, ok := metadata.FromOutgoingContext(ctx); ok && len(md) > 0 {
		return toGRPC(gate.Errorf(gate.InvalidArgument, "a message to a mailbox has no metadata"))
	}
	b, err := appendMessage(nil, args)
	if err != nil {
		return toGRPC(err)
	}
	return toGRPC(p.out.Post(ctx, name, b))
}

// NewStream implements grpc.ClientConnInterface: a mailbox takes no streams.
func (p poster) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, toGRPC(gate.Errorf(gate.Unimplemented, "a mailbox takes no streams"))
}

// Receive reads a mailbox (gate.Domain.Receive): impl is the implementation of
// the generated service whose messages it takes, each of which is a call of a
// method of impl. What a method returns goes nowhere; an error ends Receive.
//
//	err := grpcgate.Receive(ctx, d, "orders", &shopv1.Orders_ServiceDesc, &orders{})
func Receive(ctx context.Context, d *gate.Domain, mailbox string, desc *grpc.ServiceDesc, impl any) error {
	methods := map[string]*grpc.MethodDesc{}
	for i := range desc.Methods {
		methods[desc.Methods[i].MethodName] = &desc.Methods[i]
	}
	return d.Receive(ctx, mailbox, func(ctx context.Context, method string, message []byte) error {
		m := methods[method]
		if m == nil {
			return toGRPC(gate.Errorf(gate.Unimplemented, "%s has no method %s", desc.ServiceName, method))
		}
		if from, ok := gate.PeerFrom(ctx); ok {
			ctx = peer.NewContext(ctx, &peer.Peer{Addr: Addr(from), AuthInfo: AuthInfo{from}})
		}
		_, err := m.Handler(impl, ctx, func(to any) error { return parseMessage(message, to) }, nil)
		return err
	})
}
