// Command keeper marks documents with a key that it draws itself, and that is in
// secret memory: nobody else can be given it, and the kernel reads it for nobody.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"log"
	"os/signal"
	"syscall"

	"ward/examples/keys/keysv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("keeper: ", err)
	}
}

func serve(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	key, err := d.MakeSecret(ctx, "keys", sha256.Size)
	if err != nil {
		return err
	}
	defer key.Close()      // zeros
	rand.Read(key.Bytes()) // it never fails
	log.Printf("keeper: a key of %d bytes, which nobody else has", key.Size())

	s := grpcgate.NewServer()
	keysv1.RegisterSignerServer(s, &signer{key: key})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

// signer answers the calls on Signer.
type signer struct {
	keysv1.UnimplementedSignerServer
	key *gate.Secret
}

// mark is for as long as it takes a copy of the key, in ordinary memory.
func (s *signer) mark(document string) []byte {
	h := hmac.New(sha256.New, s.key.Bytes())
	h.Write([]byte(document))
	return h.Sum(nil)
}

func (s *signer) Sign(_ context.Context, r *keysv1.SignRequest) (*keysv1.SignReply, error) {
	return &keysv1.SignReply{Mark: s.mark(r.GetDocument())}, nil
}

func (s *signer) Check(_ context.Context, r *keysv1.CheckRequest) (*keysv1.CheckReply, error) {
	return &keysv1.CheckReply{Genuine: hmac.Equal(s.mark(r.GetDocument()), r.GetMark())}, nil
}
