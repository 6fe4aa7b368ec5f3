package names

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// Handle answers a call of ward.v1.Names (proto/ward/v1/names.proto).
func (r *Registry) Handle(ctx context.Context, call *gate.ServerCall) error {
	peer, ok := gate.PeerFrom(ctx)
	if !ok {
		return gate.Errorf(gate.Internal, "a call without a caller")
	}
	body, err := call.Recv()
	if err != nil {
		return err
	}
	q, err := request(body)
	if err != nil {
		return err
	}
	var reply []byte
	switch call.Method() {
	case "Publish":
		err = r.Publish(peer, q.iface)
	case "Withdraw":
		err = r.Withdraw(peer, q.iface)
	case "Lookup":
		var servers []string
		var published uint64
		servers, published, err = r.Lookup(ctx, q.iface, q.after, q.wait)
		for _, s := range servers {
			reply = protowire.AppendString(protowire.AppendTag(reply, 1, protowire.BytesType), s)
		}
		if q.numbered {
			reply = protowire.AppendVarint(protowire.AppendTag(reply, 2, protowire.VarintType), published)
		}
	default:
		err = gate.Errorf(gate.Unimplemented, "the name server does not know %s", call.Method())
	}
	if err != nil {
		return err
	}
	return call.Send(reply)
}

// A query is a request of any method.
type query struct {
	iface    string // field 1
	wait     bool   // 2
	after    uint64 // 3
	numbered bool   // 3 is there
}

// request reads a request. The filter has checked it; what it would not have
// let pass is refused here, too.
func request(b []byte) (q query, err error) {
	malformed := func() (query, error) {
		return query{}, gate.Errorf(gate.InvalidArgument, "malformed request")
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed()
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.BytesType:
			s, n := protowire.ConsumeString(b)
			if n < 0 {
				return malformed()
			}
			q.iface, b = s, b[n:]
		case (num == 2 || num == 3) && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return malformed()
			}
			if num == 2 {
				q.wait = protowire.DecodeBool(v)
			} else {
				q.after, q.numbered = v, true
			}
			b = b[n:]
		default:
			return malformed()
		}
	}
	if q.iface == "" || len(q.iface) > 255 {
		return malformed()
	}
	return q, nil
}
