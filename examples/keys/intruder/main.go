// Command intruder may ask whether a mark is genuine. It tries to come by the key,
// and by marks. It exits 1 if anything gets through.
package main

import (
	"context"
	"log"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/keys/keysv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("intruder: ", err)
	}
}

func run(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	conn, err := grpcgate.Dial(ctx, keysv1.Signer_ServiceDesc.ServiceName)
	if err != nil {
		return err
	}
	defer conn.Close()
	signer := keysv1.NewSignerClient(conn)
	if _, err := signer.Check(ctx, &keysv1.CheckRequest{Document: "invoice 18", Mark: make([]byte, 32)}); err != nil {
		return err // which it may
	}

	tries := []struct {
		what string
		do   func() error
	}{
		{"a mark", func() error {
			_, err := signer.Sign(ctx, &keysv1.SignRequest{Document: "invoice 18"})
			return err
		}},
		{"a key of its own", func() error { _, err := d.MakeSecret(ctx, "keys", 32); return err }},
		{"a key as other memory", func() error { _, err := d.Make(ctx, "keys", 32); return err }},
		{"the key, to read", func() error { _, err := d.OpenMemory(ctx, "keys", gate.ReadOnly); return err }},
		{"the key, to write", func() error { _, err := d.OpenMemory(ctx, "keys", gate.ReadWrite); return err }},
		{"secret memory that nobody counts", func() error {
			fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
			if err != nil {
				return status.Error(codes.PermissionDenied, err.Error())
			}
			return unix.Close(fd)
		}},
	}
	through := 0
	for _, t := range tries {
		if err := t.do(); status.Code(err) != codes.PermissionDenied && gate.AsError(err).Code != gate.PermissionDenied {
			log.Printf("intruder: GOT THROUGH: %s: %v", t.what, err)
			through++
		}
	}
	log.Printf("intruder: %d attempts, %d got through", len(tries), through)
	if through > 0 {
		os.Exit(1)
	}
	return nil
}
