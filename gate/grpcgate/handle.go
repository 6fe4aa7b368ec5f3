package grpcgate

import (
	"context"
	"math"

	"ward/abi"
	"ward/gate"
	wardv1 "ward/proto/ward/v1"
)

// ToProto is a handle as a message of generated code has it.
func ToProto(h gate.Handle) *wardv1.Handle {
	return &wardv1.Handle{Id: h.ID, Kind: wardv1.Handle_Kind(h.Kind), Size: h.Size, Write: h.Write}
}

// FromProto is a handle as package gate redeems it. That of no message is zero,
// which cannot be redeemed.
func FromProto(h *wardv1.Handle) gate.Handle {
	return gate.Handle{ID: h.GetId(), Kind: kindOf(h.GetKind()), Size: h.GetSize(), Write: h.GetWrite()}
}

// kindOf is a kind by its number, 0 if there is none with it.
func kindOf(k wardv1.Handle_Kind) abi.HandleKind {
	if k < 0 || k > math.MaxUint8 {
		return 0
	}
	return abi.HandleKind(k)
}

// Offer offers memory to the server of an interface, named in full, for a
// request on this connection: see gate.Client.Offer. It opens the gate if need be.
//
//	frame, err := conn.Offer(ctx, framesv1.Album_ServiceDesc.ServiceName, memory, gate.ReadOnly)
//	reply, err := album.Add(ctx, &framesv1.AddRequest{Frame: frame})
//
// A gate that broke is opened again by the next call, but offers are of one gate:
// then the call is denied, and the memory is offered anew.
func (c *Conn) Offer(ctx context.Context, iface string, m *gate.Memory, access gate.Access) (*wardv1.Handle, error) {
	g, err := c.gate(ctx, iface, false)
	if err != nil {
		return nil, toGRPC(err)
	}
	h, err := g.Offer(ctx, m, access)
	if err != nil {
		return nil, toGRPC(err)
	}
	return ToProto(h), nil
}

// Retract takes an offer back that nobody has redeemed.
func (c *Conn) Retract(ctx context.Context, iface string, h *wardv1.Handle) error {
	g, err := c.opened(iface)
	if err != nil {
		return toGRPC(err)
	}
	return toGRPC(g.Retract(ctx, FromProto(h)))
}

// Redeem gets the memory of a handle that came in a reply of an interface, named
// in full, on this connection: see gate.Client.Redeem.
func (c *Conn) Redeem(ctx context.Context, iface string, h *wardv1.Handle) (*gate.Memory, error) {
	g, err := c.opened(iface)
	if err != nil {
		return nil, toGRPC(err)
	}
	m, err := g.Redeem(ctx, FromProto(h))
	return m, toGRPC(err)
}

// opened is the gate of an interface that a message came from.
func (c *Conn) opened(iface string) (*gate.Client, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.gates[iface]
	if g == nil {
		return nil, gate.Errorf(gate.FailedPrecondition, "this connection has no gate for %s: the handle came from elsewhere", iface)
	}
	if err := g.Err(); err != nil {
		return nil, err
	}
	return g, nil
}

// OfferTo is gate.OfferTo for a handler of generated code: it offers memory to
// the client that called, for the reply.
func OfferTo(ctx context.Context, m *gate.Memory, access gate.Access) (*wardv1.Handle, error) {
	h, err := gate.OfferTo(ctx, m, access)
	if err != nil {
		return nil, toGRPC(err)
	}
	return ToProto(h), nil
}

// Redeem is gate.Redeem for a handler of generated code, and the handle of its
// request.
func Redeem(ctx context.Context, h *wardv1.Handle) (*gate.Memory, error) {
	m, err := gate.Redeem(ctx, FromProto(h))
	return m, toGRPC(err)
}
