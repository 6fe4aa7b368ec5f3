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
	iface, wait, err := request(body)
	if err != nil {
		return err
	}
	var reply []byte
	switch call.Method() {
	case "Publish":
		err = r.Publish(peer, iface)
	case "Withdraw":
		err = r.Withdraw(peer, iface)
	case "Lookup":
		var servers []string
		servers, err = r.Lookup(ctx, iface, wait)
		for _, s := range servers {
			reply = protowire.AppendString(protowire.AppendTag(reply, 1, protowire.BytesType), s)
		}
	default:
		err = gate.Errorf(gate.Unimplemented, "the name server does not know %s", call.Method())
	}
	if err != nil {
		return err
	}
	return call.Send(reply)
}

// request reads a request of any method: interface = 1, wait = 2. The filter
// has checked it; what it would not have let pass is refused here, too.
func request(b []byte) (iface string, wait bool, err error) {
	malformed := func() (string, bool, error) {
		return "", false, gate.Errorf(gate.InvalidArgument, "malformed request")
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
			iface, b = s, b[n:]
		case num == 2 && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return malformed()
			}
			wait, b = protowire.DecodeBool(v), b[n:]
		default:
			return malformed()
		}
	}
	if iface == "" || len(iface) > 255 {
		return malformed()
	}
	return iface, wait, nil
}
