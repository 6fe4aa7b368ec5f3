// Command store keeps documents by name. It checks nothing: who may read or
// write which is in policy.cedar.
package main

import (
	"context"
	"log"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/spawn/docsv1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := grpcgate.NewServer()
	docsv1.RegisterDocumentsServer(s, &store{documents: map[string]string{"charter": "we, the people"}})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err == nil {
		err = s.Serve(lis)
	}
	if err != nil {
		log.Fatal("store: ", err)
	}
}

type store struct {
	docsv1.UnimplementedDocumentsServer
	mu        sync.Mutex
	documents map[string]string
}

func (s *store) Write(_ context.Context, r *docsv1.WriteRequest) (*docsv1.WriteReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents[r.GetName()] = r.GetText()
	return &docsv1.WriteReply{}, nil
}

func (s *store) Read(_ context.Context, r *docsv1.ReadRequest) (*docsv1.ReadReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.documents[r.GetName()]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "there is no document %q", r.GetName())
	}
	return &docsv1.ReadReply{Text: text}, nil
}
