// Command verifier says whether the image in the storage was signed by its
// maker. It always answers yes or no: an error would leave the image in check.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"log"
	"os/signal"
	"syscall"

	"ward/examples/secure-update/updatev1"
	"ward/gate/grpcgate"
)

// maker is the public key of whoever makes the images.
const maker = "0f212e101dfd08cc7ea03a608cc53d1ea7c6bb86fd416bcad3a0d2d89df7fe56"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("verifier: ", err)
	}
}

func serve(ctx context.Context) error {
	key, err := hex.DecodeString(maker)
	if err != nil {
		return err
	}
	conn, err := grpcgate.Dial(ctx, "update.v1.Storage")
	if err != nil {
		return err
	}
	defer conn.Close()
	s := grpcgate.NewServer()
	updatev1.RegisterVerifierServer(s, &verifier{storage: updatev1.NewStorageClient(conn), key: key})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

type verifier struct {
	updatev1.UnimplementedVerifierServer
	storage updatev1.StorageClient
	key     ed25519.PublicKey
}

func (v *verifier) Check(ctx context.Context, _ *updatev1.CheckRequest) (*updatev1.CheckReply, error) {
	stored, err := v.storage.Get(ctx, &updatev1.GetRequest{})
	good := err == nil && ed25519.Verify(v.key, stored.GetImage(), stored.GetSignature())
	log.Printf("verifier: an image of %d bytes: good %v", len(stored.GetImage()), good)
	return &updatev1.CheckReply{Good: good}, nil
}
