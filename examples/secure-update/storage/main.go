// Command storage keeps one image and its signature, of whoever may store it.
package main

import (
	"context"
	"log"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/secure-update/updatev1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := grpcgate.NewServer()
	updatev1.RegisterStorageServer(s, &storage{})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err == nil {
		err = s.Serve(lis)
	}
	if err != nil {
		log.Fatal("storage: ", err)
	}
}

type storage struct {
	updatev1.UnimplementedStorageServer
	mu     sync.Mutex
	stored *updatev1.PutRequest
}

func (s *storage) Put(_ context.Context, r *updatev1.PutRequest) (*updatev1.PutReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = r
	return &updatev1.PutReply{}, nil
}

func (s *storage) Get(context.Context, *updatev1.GetRequest) (*updatev1.GetReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored == nil {
		return nil, status.Error(codes.NotFound, "no image")
	}
	return &updatev1.GetReply{Image: s.stored.GetImage(), Signature: s.stored.GetSignature()}, nil
}
