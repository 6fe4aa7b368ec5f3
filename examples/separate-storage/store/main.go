// Command store keeps values as files in a directory of its own. It runs once
// for each level of trust and has no idea of them.
package main

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"ward/examples/separate-storage/storev1"
	"ward/gate/grpcgate"
)

// directory is in the private /tmp of this domain: the other store has another.
const directory = "/tmp/values"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("store: ", err)
	}
}

func serve(ctx context.Context) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	s := grpcgate.NewServer()
	storev1.RegisterStoreServer(s, &store{put: make(chan struct{})})
	context.AfterFunc(ctx, s.Stop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

type store struct {
	storev1.UnimplementedStoreServer
	mu  sync.Mutex
	put chan struct{} // closed when there is another value
}

// Put keeps a value. A key is letters, digits and dashes: the kernel has
// refused anything else before it gets here, so it cannot be a path.
func (s *store) Put(_ context.Context, r *storev1.PutRequest) (*storev1.PutReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.WriteFile(filepath.Join(directory, r.GetKey()), r.GetValue(), 0o600); err != nil {
		return nil, err
	}
	close(s.put)
	s.put = make(chan struct{})
	return &storev1.PutReply{}, nil
}

func (s *store) Get(ctx context.Context, r *storev1.GetRequest) (*storev1.GetReply, error) {
	for {
		s.mu.Lock()
		value, err := os.ReadFile(filepath.Join(directory, r.GetKey()))
		put := s.put
		s.mu.Unlock()
		if !errors.Is(err, fs.ErrNotExist) {
			return &storev1.GetReply{Value: value}, err
		}
		select {
		case <-put:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
