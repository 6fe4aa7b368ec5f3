// Command clerk writes a report into the store of its own level, and then
// tries to get at the trusted one.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/separate-storage/storev1"
	"ward/gate/grpcgate"
)

const iface = "store.v1.Store"

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("clerk: ", err)
	}
}

func run(ctx context.Context) error {
	// Both stores serve the interface, so it says which one is meant.
	conn, err := grpcgate.Dial(ctx, iface, grpcgate.WithServer("untrusted-store"))
	if err != nil {
		return err
	}
	defer conn.Close()
	store := storev1.NewStoreClient(conn)

	up, err := grpcgate.Dial(ctx, iface, grpcgate.WithServer("trusted-store"))
	if err == nil {
		up.Close()
	}
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("a gate to the trusted store: want %v, got %v", codes.PermissionDenied, err)
	}
	log.Printf("clerk: refused: a gate to the trusted store: %v", err)

	report := []byte("all quiet")
	if _, err := store.Put(ctx, &storev1.PutRequest{Key: "report-1", Value: report}); err != nil {
		return err
	}
	reply, err := store.Get(ctx, &storev1.GetRequest{Key: "report-1"})
	if err != nil {
		return err
	}
	if !bytes.Equal(reply.GetValue(), report) {
		return fmt.Errorf("the report came back as %q", reply.GetValue())
	}
	log.Print("clerk: the report is written")

	// A path would lead out of the store's directory, if the store saw it.
	_, err = store.Get(ctx, &storev1.GetRequest{Key: "../../etc/shadow"})
	if status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("a path as a key: want %v, got %v", codes.InvalidArgument, err)
	}
	log.Printf("clerk: refused: a path as a key: %v", err)
	return nil
}
