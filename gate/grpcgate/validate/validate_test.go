package validate_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ward/gate/grpcgate/validate"
	wardv1 "ward/proto/ward/v1"
)

// The rules of ward.v1.Names stand for any: an interface name has at most 255
// characters of a class.
var (
	good = &wardv1.LookupRequest{Interface: "picture.v1.Pictures"}
	bad  = &wardv1.LookupRequest{Interface: "../../etc/passwd"}
)

func TestUnary(t *testing.T) {
	calls := 0
	next := func(context.Context, any) (any, error) { calls++; return nil, nil }
	if _, err := validate.Unary(t.Context(), good, nil, next); err != nil || calls != 1 {
		t.Errorf("a good request: %v, %d calls", err, calls)
	}
	_, err := validate.Unary(t.Context(), bad, nil, next)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "interface") || calls != 1 {
		t.Errorf("a bad request: %v, %d calls", err, calls)
	}
	if _, err := validate.Unary(t.Context(), "text", nil, next); status.Code(err) != codes.Internal {
		t.Errorf("no message: %v", err)
	}
}

// feed receives the same message for ever.
type feed struct{ m proto.Message }

func (f feed) RecvMsg(m any) error { proto.Merge(m.(proto.Message), f.m); return nil }

type serverFeed struct {
	grpc.ServerStream
	feed feed
}

func (s serverFeed) RecvMsg(m any) error { return s.feed.RecvMsg(m) }

type clientFeed struct {
	grpc.ClientStream
	feed feed
}

func (s clientFeed) RecvMsg(m any) error { return s.feed.RecvMsg(m) }

func TestStream(t *testing.T) {
	receive := func(_ any, s grpc.ServerStream) error { return s.RecvMsg(&wardv1.LookupRequest{}) }
	if err := validate.Stream(nil, serverFeed{feed: feed{m: good}}, nil, receive); err != nil {
		t.Errorf("a good item: %v", err)
	}
	if err := validate.Stream(nil, serverFeed{feed: feed{m: bad}}, nil, receive); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a bad item: %v", err)
	}
}

// server answers every call with a message.
type server struct{ m proto.Message }

func (s server) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	proto.Merge(reply.(proto.Message), s.m)
	return nil
}

func (s server) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return clientFeed{feed: feed{m: s.m}}, nil
}

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		m    proto.Message
		want codes.Code
	}{{good, codes.OK}, {bad, codes.Internal}} {
		conn := validate.Replies(server{c.m})
		reply := &wardv1.LookupRequest{}
		if err := conn.Invoke(t.Context(), "", nil, reply); status.Code(err) != c.want {
			t.Errorf("a reply %v: %v", c.m, err)
		}
		if c.want != codes.OK && reply.Interface != "" {
			t.Errorf("the caller got %v of a refused reply", reply)
		}
		s, err := conn.NewStream(t.Context(), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(&wardv1.LookupRequest{}); status.Code(err) != c.want {
			t.Errorf("an item %v: %v", c.m, err)
		}
	}
}
