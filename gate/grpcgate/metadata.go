package grpcgate

import (
	"google.golang.org/grpc/metadata"

	"ward/gate"
)

// toGate takes the one value of each key. A gate carries one.
func toGate(md metadata.MD) (gate.Metadata, error) {
	if len(md) == 0 {
		return nil, nil
	}
	out := make(gate.Metadata, len(md))
	for k, v := range md {
		switch len(v) {
		case 0:
		case 1:
			out[k] = v[0]
		default:
			return nil, gate.Errorf(gate.InvalidArgument, "metadata key %q has %d values; a gate carries one", k, len(v))
		}
	}
	return out, nil
}

func fromGate(md gate.Metadata) metadata.MD {
	out := make(metadata.MD, len(md))
	for k, v := range md {
		out[k] = []string{v}
	}
	return out
}
