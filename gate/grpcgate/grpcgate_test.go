package grpcgate_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"ward/gate"
	"ward/gate/gatetest"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
)

// service answers by the text of what it is sent.
type service struct{ testv1.UnimplementedTestServer }

func (service) Unary(ctx context.Context, in *testv1.Item) (*testv1.Item, error) {
	switch in.Text {
	case "details":
		s, err := status.New(codes.FailedPrecondition, "not now").WithDetails(&errdetails.RetryInfo{}, &errdetails.ErrorInfo{Reason: "BUSY"})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	case "metadata":
		md, ok := metadata.FromIncomingContext(ctx)
		if !ok {
			return nil, status.Error(codes.Internal, "no metadata in the context")
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-test", md.Get("traceparent")[0])); err != nil {
			return nil, err
		}
	case "undeclared":
		return nil, grpc.SetHeader(ctx, metadata.Pairs("nope", "1"))
	case "trailer":
		if err := grpc.SetTrailer(ctx, metadata.Pairs("nope", "1")); err != nil {
			return nil, err
		}
	case "peer":
		p, ok := peer.FromContext(ctx)
		if !ok {
			return nil, status.Error(codes.Internal, "no peer")
		}
		who, _ := gate.PeerFrom(ctx)
		return &testv1.Item{Text: p.Addr.String(), Number: int64(who.UID)}, nil
	case "method":
		m, _ := grpc.Method(ctx)
		return &testv1.Item{Text: m}, nil
	case "block":
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &testv1.Item{Number: in.Number + 1, Text: in.Text}, nil
}

func (service) Upload(s grpc.ClientStreamingServer[testv1.Item, testv1.Item]) error {
	sum := &testv1.Item{}
	for {
		in, err := s.Recv()
		if err == io.EOF {
			if err := s.SendAndClose(sum); err != nil {
				return err
			}
			if sum.Text == "fail" {
				return status.Error(codes.Aborted, "after the answer")
			}
			s.SetTrailer(metadata.Pairs("x-test", "late"))
			return nil
		}
		if err != nil {
			return err
		}
		sum.Number += in.Number
		sum.Text = in.Text
	}
}

func (service) Download(in *testv1.Item, s grpc.ServerStreamingServer[testv1.Item]) error {
	if err := s.SetHeader(metadata.Pairs("x-test", "head")); err != nil {
		return err
	}
	for i := range in.Number {
		if err := s.Send(&testv1.Item{Number: i}); err != nil {
			return err
		}
	}
	s.SetTrailer(metadata.Pairs("traceparent", "tail"))
	return nil
}

func (service) Chat(s grpc.BidiStreamingServer[testv1.Item, testv1.Item]) error {
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(in); err != nil {
			return err
		}
	}
}

// dial makes a client of the generated code on a gate whose server is the generated code too.
func dial(t *testing.T, opts ...grpcgate.ServerOption) testv1.TestClient {
	t.Helper()
	ce, se := gatetest.Pair(t)
	s := grpcgate.NewServer(opts...)
	testv1.RegisterTestServer(s, service{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gate.ServeEnd(ctx, se, s.Handler(se.Interface)) }()
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	conn := grpcgate.NewConn(c)
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil && err != io.EOF {
			t.Error(err)
		}
	})
	return testv1.NewTestClient(conn)
}

func TestUnary(t *testing.T) {
	c := dial(t)
	got, err := c.Unary(t.Context(), &testv1.Item{Number: 41, Text: "größe"})
	if err != nil || got.Number != 42 || got.Text != "größe" {
		t.Fatalf("%v, %v", got, err)
	}
	if got, err := c.Unary(t.Context(), &testv1.Item{Text: "method"}); err != nil || got.Text != testv1.Test_Unary_FullMethodName {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := c.Unary(t.Context(), &testv1.Item{Text: "peer"}); err != nil || got.Text != "domain:client" || got.Number != 1234 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestStatusDetailsTravel(t *testing.T) {
	_, err := dial(t).Unary(t.Context(), &testv1.Item{Text: "details"})
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.FailedPrecondition || s.Message() != "not now" || len(s.Details()) != 2 {
		t.Fatalf("%v", err)
	}
	if d, ok := s.Details()[1].(*errdetails.ErrorInfo); !ok || d.Reason != "BUSY" {
		t.Errorf("detail %v", s.Details()[1])
	}
	var g *gate.Error
	if !errors.As(err, &g) || g.Denied() {
		t.Errorf("%v is not the gate's error", err)
	}
}

func TestMetadataTravels(t *testing.T) {
	c := dial(t)
	var header metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-1")
	if _, err := c.Unary(ctx, &testv1.Item{Text: "metadata"}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if v := header.Get("x-test"); len(v) != 1 || v[0] != "00-1" {
		t.Errorf("header %v", header)
	}
	for name, ctx := range map[string]context.Context{
		"not declared": metadata.AppendToOutgoingContext(t.Context(), "nope", "1"),
		"2 values":     metadata.AppendToOutgoingContext(t.Context(), "x-test", "1", "x-test", "2"),
	} {
		if _, err := c.Unary(ctx, &testv1.Item{}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"undeclared", "trailer"} {
		if _, err := c.Unary(t.Context(), &testv1.Item{Text: text}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "not declared") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	if _, err := dial(t).Unary(ctx, &testv1.Item{Text: "block"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}

func TestStreams(t *testing.T) {
	c := dial(t)
	up, err := c.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := up.Send(&testv1.Item{Number: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.Number != 200 {
		t.Errorf("%v, %v", sum, err)
	}
	if v := up.Trailer().Get("x-test"); len(v) != 1 || v[0] != "late" {
		t.Errorf("trailer %v", up.Trailer())
	}

	down, err := c.Download(t.Context(), &testv1.Item{Number: 100})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := down.Header(); err != nil || h.Get("x-test")[0] != "head" {
		t.Errorf("header %v, %v", h, err)
	}
	for i := range int64(100) {
		if in, err := down.Recv(); err != nil || in.Number != i {
			t.Fatalf("item %d: %v, %v", i, in, err)
		}
	}
	if _, err := down.Recv(); err != io.EOF {
		t.Error(err)
	}
	if v := down.Trailer().Get("traceparent"); len(v) != 1 || v[0] != "tail" {
		t.Errorf("trailer %v", down.Trailer())
	}

	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		if err := chat.Send(&testv1.Item{Number: i}); err != nil {
			t.Fatal(err)
		}
		if in, err := chat.Recv(); err != nil || in.Number != i {
			t.Fatalf("item %d: %v, %v", i, in, err)
		}
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); err != io.EOF {
		t.Error(err)
	}
}

// A handler that fails after SendAndClose has failed, as over gRPC.
func TestErrorAfterTheAnswer(t *testing.T) {
	up, err := dial(t).Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Send(&testv1.Item{Text: "fail"}); err != nil {
		t.Fatal(err)
	}
	if _, err := up.CloseAndRecv(); status.Code(err) != codes.Aborted {
		t.Errorf("%v", err)
	}
}

func TestInterceptors(t *testing.T) {
	order := make(chan string, 2) // the race detector does not see that a socket orders things
	unary := func(name string) grpcgate.ServerOption {
		return grpcgate.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			order <- name + " " + info.FullMethod
			return next(ctx, req)
		})
	}
	stream := grpcgate.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		return status.Error(codes.Unauthenticated, info.FullMethod)
	})
	c := dial(t, unary("a"), unary("b"), stream)
	if _, err := c.Unary(t.Context(), &testv1.Item{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a /test.v1.Test/Unary", "b /test.v1.Test/Unary"} {
		if got := <-order; got != want {
			t.Errorf("interceptor %s, want %s", got, want)
		}
	}
	chat, err := c.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
}

func TestUnimplemented(t *testing.T) {
	ce, se := gatetest.Pair(t)
	s := grpcgate.NewServer()
	testv1.RegisterTestServer(s, testv1.UnimplementedTestServer{})
	go gate.ServeEnd(t.Context(), se, s.Handler(se.Interface))
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := testv1.NewTestClient(grpcgate.NewConn(c)).Unary(t.Context(), &testv1.Item{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}
