package grpcgate_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/gate/gatetest"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
)

// A client that starts before its server gets its gate when that has come, goes
// on with the next server when it has gone, and fails clearly in between.
func TestDialAndServe(t *testing.T) {
	m := gatetest.NewMonitor(t)
	client := grpcgate.WithDomain(m.Domain("client"))
	iface := testv1.Test_ServiceDesc.ServiceName

	if _, err := grpcgate.Dial(t.Context(), iface, client, grpcgate.WithoutWait()); status.Code(err) != codes.NotFound {
		t.Errorf("without a server: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	if _, err := grpcgate.Dial(ctx, iface, client); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("without a server: %v", err)
	}
	cancel()

	var c testv1.TestClient
	for _, name := range []string{"first", "second"} {
		lis := grpcgate.ListenAs(m.Domain(name))
		s := grpcgate.NewServer()
		testv1.RegisterTestServer(s, service{})
		served := make(chan error, 1)
		go func() { served <- s.Serve(lis) }()
		if c == nil {
			conn, err := grpcgate.Dial(t.Context(), iface, client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if p, ok := conn.Peer(iface); !ok || p.Name != name {
				t.Errorf("peer %+v, %v", p, ok)
			}
			c = testv1.NewTestClient(conn)
		}
		for range 10 {
			if _, err := c.Unary(t.Context(), &testv1.Item{}, grpc.WaitForReady(true)); err != nil && name == "first" {
				t.Fatal(err)
			} else if err == nil {
				break // the call that finds the old gate broken fails; the next opens another
			}
		}
		if in, err := c.Unary(t.Context(), &testv1.Item{Number: 1}); err != nil || in.Number != 2 {
			t.Fatalf("%s: %v, %v", name, in, err)
		}
		s.GracefulStop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		for _, want := range []codes.Code{codes.Unavailable, codes.NotFound} { // the gate is gone; no server
			if _, err := c.Unary(t.Context(), &testv1.Item{}); status.Code(err) != want {
				t.Errorf("after %s has gone: %v, want %v", name, err, want)
			}
		}
	}
}

func TestServeWantsItsOwnListener(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if err := grpcgate.NewServer().Serve(lis); err == nil {
		t.Error("Serve took a listener of another kind")
	}
}
