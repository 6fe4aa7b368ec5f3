package grpcgate_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
	wardv1 "ward/proto/ward/v1"
)

// handles is the server of generated code: it answers with the capital letters
// of what it is given, in memory of its own.
type handles struct {
	testv1.UnimplementedHandlesServer
	domain *gate.Domain
}

func (h handles) Swap(ctx context.Context, in *testv1.Parcel) (*testv1.Parcel, error) {
	given, err := grpcgate.Redeem(ctx, in.GetMemory())
	if err != nil {
		return nil, err
	}
	defer given.Close()
	text, err := given.Bytes()
	if err != nil {
		return nil, err
	}
	return h.parcel(ctx, strings.ToUpper(string(text)))
}

func (h handles) Series(in *testv1.Parcel, s grpc.ServerStreamingServer[testv1.Parcel]) error {
	for _, word := range strings.Fields(in.GetText()) {
		p, err := h.parcel(s.Context(), word)
		if err != nil {
			return err
		}
		if err := s.Send(p); err != nil {
			return err
		}
	}
	return nil
}

// parcel puts a text in memory of its own, and offers it to who calls.
func (h handles) parcel(ctx context.Context, text string) (*testv1.Parcel, error) {
	m, err := letter(ctx, h.domain, text)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	handle, err := grpcgate.OfferTo(ctx, m, gate.ReadOnly)
	return &testv1.Parcel{Memory: handle}, err
}

// letter makes memory with a text in it.
func letter(ctx context.Context, d *gate.Domain, text string) (*gate.Memory, error) {
	m, err := d.Make(ctx, "letters", len(text))
	if err != nil {
		return nil, err
	}
	b, err := m.Bytes()
	if err != nil {
		return nil, err
	}
	copy(b, text)
	return m, m.Unmap()
}

func read(t *testing.T, conn *grpcgate.Conn, h *wardv1.Handle) string {
	t.Helper()
	m, err := conn.Redeem(t.Context(), testv1.Handles_ServiceDesc.ServiceName, h)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Generated code passes memory both ways, and in a stream.
func TestHandles(t *testing.T) {
	iface := testv1.Handles_ServiceDesc.ServiceName
	m := gatetest.NewMonitor(t)
	m.Methods = map[string][]abi.ControlMethod{iface: {{Name: "Swap"}, {Name: "Series", ServerStream: true}}}
	both := []string{"server", "client"}
	m.Objects(map[string]*gatetest.Object{"letters": {Size: 4096, Makers: both, Readers: both}})
	server, client := m.Domain("server"), m.Domain("client")
	s := grpcgate.NewServer()
	testv1.RegisterHandlesServer(s, handles{domain: server})
	served := make(chan error, 1)
	go func() { served <- s.Serve(grpcgate.ListenAs(server)) }()
	conn, err := grpcgate.Dial(t.Context(), iface, grpcgate.WithDomain(client))
	if err != nil {
		t.Fatal(err)
	}
	c := testv1.NewHandlesClient(conn)

	mine, err := letter(t.Context(), client, "hello")
	if err != nil {
		t.Fatal(err)
	}
	h, err := conn.Offer(t.Context(), iface, mine, gate.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	if h.GetKind() != wardv1.Handle_memory || h.GetSize() != 5 || h.GetWrite() || grpcgate.FromProto(grpcgate.ToProto(grpcgate.FromProto(h))) != grpcgate.FromProto(h) {
		t.Errorf("%v", h)
	}
	reply, err := c.Swap(t.Context(), &testv1.Parcel{Memory: h})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, conn, reply.GetMemory()); got != "HELLO" {
		t.Errorf("%q", got)
	}
	stream, err := c.Series(t.Context(), &testv1.Parcel{Text: "one two three"})
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for {
		p, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, read(t, conn, p.GetMemory()))
	}
	if got := strings.Join(words, " "); got != "one two three" {
		t.Errorf("%q", got)
	}

	// What cannot be redeemed has the status that a gRPC program looks at, here and from there.
	for _, none := range []*wardv1.Handle{nil, {}, {Id: 1, Kind: 1 << 20, Size: 1}, {Id: 1, Kind: -1, Size: 1}} {
		if _, err := conn.Redeem(t.Context(), iface, none); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", none, err)
		}
		if _, err := c.Swap(t.Context(), &testv1.Parcel{Memory: none}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", none, err)
		}
	}
	if _, err := conn.Redeem(t.Context(), iface, h); status.Code(err) != codes.PermissionDenied {
		t.Errorf("its own handle: %v", err)
	}
	if _, err := conn.Redeem(t.Context(), "test.v1.Test", h); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("of another gate: %v", err)
	}
	if h, err = conn.Offer(t.Context(), iface, mine, gate.ReadOnly); err != nil {
		t.Fatal(err)
	}
	if err := conn.Retract(t.Context(), iface, h); err != nil {
		t.Error(err)
	}
	if err := conn.Retract(t.Context(), iface, h); status.Code(err) != codes.PermissionDenied {
		t.Errorf("twice: %v", err)
	}
	mine.Close()
	for _, d := range []*gate.Domain{server, client} { // refused: what was told before has been read then
		if _, err := d.Make(t.Context(), "none", 1); err == nil {
			t.Error("it made what there is not")
		}
	}
	if n := m.References("server") + m.References("client") + m.Offers(); n != 0 {
		t.Errorf("%d references and offers are left", n)
	}
	conn.Close()
	if _, err := conn.Redeem(t.Context(), iface, h); status.Code(err) != codes.Canceled {
		t.Errorf("after Close: %v", err)
	}
	s.GracefulStop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
