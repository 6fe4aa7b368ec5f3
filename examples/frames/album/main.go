// Command album keeps the pictures that it is given, as the memory that they
// are: it copies nothing.
package main

import (
	"bytes"
	"context"
	"image/png"
	"log"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/frames/framesv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := grpcgate.NewServer()
	framesv1.RegisterAlbumServer(s, &album{kept: map[string]*gate.Memory{}})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err == nil {
		err = s.Serve(lis)
	}
	if err != nil {
		log.Fatal("album: ", err)
	}
}

type album struct {
	framesv1.UnimplementedAlbumServer

	mu   sync.Mutex
	kept map[string]*gate.Memory // by title
}

func (a *album) Keep(ctx context.Context, f *framesv1.Frame) (*framesv1.KeepReply, error) {
	memory, err := grpcgate.Redeem(ctx, f.GetMemory())
	if err != nil {
		return nil, err
	}
	b, err := memory.Bytes()
	if err == nil {
		if int(f.GetLength()) > len(b) {
			err = status.Errorf(codes.InvalidArgument, "%s: %d bytes in memory of %d", f.GetTitle(), f.GetLength(), len(b))
		} else if _, decoding := png.DecodeConfig(bytes.NewReader(b[:f.GetLength()])); decoding != nil {
			err = status.Errorf(codes.InvalidArgument, "%s: %v", f.GetTitle(), decoding)
		}
	}
	if err != nil {
		memory.Close()
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if before := a.kept[f.GetTitle()]; before != nil {
		before.Close()
	}
	a.kept[f.GetTitle()] = memory
	return &framesv1.KeepReply{Kept: uint32(len(a.kept))}, nil
}
