// Command picture-manager serves pictures: it keeps them as PNG files in a
// directory of its own and hands them out scaled.
//
// It holds no authorization code. Who may call what, with which parameters, is
// said in policy.cedar and checked by the kernel before a request gets here.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

// directory is in the private /tmp of this domain: nobody else sees it.
const directory = "/tmp/pictures"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("picture-manager: ", err)
	}
}

func serve(ctx context.Context) error {
	g, err := openGallery(directory)
	if err != nil {
		return err
	}
	m := &manager{gallery: g, drafts: newDrafts(ctx)}
	s := grpcgate.NewServer()
	picturev1.RegisterPicturesServer(s, m)
	picturev1.RegisterStatusServer(s, m)
	context.AfterFunc(ctx, s.GracefulStop)
	return serveAll(s)
}

// serveAll publishes what is registered with s and answers calls until s stops.
func serveAll(s *grpcgate.Server) error {
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}
