package grpcgate_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/gate/gatetest"
	"ward/gate/gatetest/testv1"
	"ward/gate/grpcgate"
)

// A server that is stopped while it starts its services leaves none running, nor
// does one that is stopped before.
func TestStopWhileStarting(t *testing.T) {
	m := gatetest.NewMonitor(t)
	client, lis := grpcgate.WithDomain(m.Domain("client")), grpcgate.ListenAs(m.Domain("server"))
	iface := testv1.Test_ServiceDesc.ServiceName
	server := func() *grpcgate.Server {
		s := grpcgate.NewServer()
		testv1.RegisterTestServer(s, service{})
		return s
	}
	gone := func(what string) {
		t.Helper()
		if conn, err := grpcgate.Dial(t.Context(), iface, client, grpcgate.WithoutWait()); status.Code(err) != codes.NotFound {
			t.Errorf("%s: a service is left: %v", what, err)
			if err == nil {
				conn.Close()
			}
		}
	}
	for range 20 {
		s, served := server(), make(chan error, 1)
		go func() { served <- s.Serve(lis) }()
		conn, err := grpcgate.Dial(t.Context(), iface, client) // waits until it is published
		if err != nil {
			t.Fatal(err)
		}
		s.GracefulStop()
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		conn.Close()
		gone("stopped while it starts")
	}
	s := server()
	s.Stop()
	if err := s.Serve(lis); err != grpc.ErrServerStopped {
		t.Errorf("after Stop: %v", err)
	}
	gone("stopped before")
}
