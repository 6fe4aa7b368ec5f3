package callbench

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"ward/bench/callbench/echov1"
)

var errNoGate = errors.New("no filtered gate: it needs root, and a kernel with BPF")

func dialGRPC(ctx context.Context, _ *Options) (*caller, error) {
	dir, err := os.MkdirTemp("", "callbench-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "grpc.sock")
	stop, err := startPeer(GRPC, nil, path)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	c := &caller{close: func() {
		if conn != nil {
			conn.Close()
		}
		stop()
		os.RemoveAll(dir)
	}}
	if err != nil {
		c.close()
		return nil, err
	}
	stub := echov1.NewEchoClient(conn)
	if _, err := stub.Call(ctx, &echov1.CallRequest{}, grpc.WaitForReady(true)); err != nil {
		c.close()
		return nil, err
	}
	c.call = func(ctx context.Context, _ int, payload []byte) error {
		r, err := stub.Call(ctx, &echov1.CallRequest{Payload: payload})
		return check(r, err, payload)
	}
	return c, nil
}

func serveGRPC(args []string) error {
	lis, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	echov1.RegisterEchoServer(s, echo{})
	return s.Serve(lis)
}
