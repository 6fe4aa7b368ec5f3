package grpcgate_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
)

// inbox is an implementation of generated code that reads a mailbox.
type inbox struct {
	testv1.UnimplementedTestServer
	got chan string
}

func (i inbox) Unary(ctx context.Context, in *testv1.Item) (*testv1.Item, error) {
	p, _ := peer.FromContext(ctx)
	if in.GetText() == "stop" {
		return nil, status.Error(codes.Aborted, "as it was told")
	}
	i.got <- p.Addr.String() + " " + in.GetText()
	return &testv1.Item{Text: "goes nowhere"}, nil
}

// TestMailboxOfGeneratedCode: a generated client posts, a generated server's
// implementation reads, before and after; its error ends the reading.
func TestMailboxOfGeneratedCode(t *testing.T) {
	m := gatetest.NewMonitor(t)
	m.Methods = map[string][]abi.ControlMethod{testv1.Test_ServiceDesc.ServiceName: {{Name: "Unary", MaxRequest: 4096}}}
	m.Mailbox("box", testv1.Test_ServiceDesc.ServiceName)
	out, err := m.Domain("writer").OpenMailbox(t.Context(), testv1.Test_ServiceDesc.ServiceName)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	client := testv1.NewTestClient(grpcgate.Poster(out))
	post := func(text string) {
		t.Helper()
		if reply, err := client.Unary(t.Context(), &testv1.Item{Text: text}); err != nil || reply.GetText() != "" {
			t.Fatalf("%v, %v", reply, err)
		}
	}
	post("before")
	in := inbox{got: make(chan string, 8)}
	reader := m.Domain("reader")
	ended := make(chan error, 1)
	go func() { ended <- grpcgate.Receive(t.Context(), reader, "box", &testv1.Test_ServiceDesc, in) }()
	if got := <-in.got; got != "domain:writer before" {
		t.Errorf("got %q", got)
	}
	post("after")
	if got := <-in.got; got != "domain:writer after" {
		t.Errorf("got %q", got)
	}
	post("stop")
	if err := <-ended; status.Code(err) != codes.Aborted {
		t.Errorf("receive: %v", err)
	}

	if _, err := client.Chat(t.Context()); status.Code(err) != codes.Unimplemented {
		t.Errorf("a stream: %v", err)
	}
	if _, err := testv1.NewHandlesClient(grpcgate.Poster(out)).Swap(t.Context(), &testv1.Parcel{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("another interface: %v", err)
	}
	if _, err := client.Unary(metadata.AppendToOutgoingContext(t.Context(), "k", "v"), &testv1.Item{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("metadata: %v", err)
	}
	for err = nil; err == nil; {
		_, err = client.Unary(t.Context(), &testv1.Item{Text: "more"})
	}
	if !errors.Is(err, gate.ErrFull) || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a full mailbox: %v", err)
	}
}
