// Command archivist keeps records in the trusted store. From the untrusted
// one it may read reports; it must not be able to leave a secret there.
package main

import (
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
		log.Fatal("archivist: ", err)
	}
}

func run(ctx context.Context) error {
	// Both stores serve the interface, so it says which one is meant.
	own, err := grpcgate.Dial(ctx, iface, grpcgate.WithServer("trusted-store"))
	if err != nil {
		return err
	}
	defer own.Close()
	other, err := grpcgate.Dial(ctx, iface, grpcgate.WithServer("untrusted-store"))
	if err != nil {
		return err
	}
	defer other.Close()
	trusted, untrusted := storev1.NewStoreClient(own), storev1.NewStoreClient(other)

	reply, err := untrusted.Get(ctx, &storev1.GetRequest{Key: "report-1"})
	if err != nil {
		return err
	}
	report := reply.GetValue()
	log.Printf("archivist: the report says %q", report)
	if _, err := trusted.Put(ctx, &storev1.PutRequest{Key: "record-1", Value: report}); err != nil {
		return err
	}
	kept, err := trusted.Get(ctx, &storev1.GetRequest{Key: "record-1"})
	if err != nil {
		return err
	}
	log.Printf("archivist: kept %d bytes", len(kept.GetValue()))

	_, err = untrusted.Put(ctx, &storev1.PutRequest{Key: "report-2", Value: []byte("the vault opens at nine")})
	if err := refused("a secret in the untrusted store", err); err != nil {
		return err
	}
	_, err = untrusted.Get(ctx, &storev1.GetRequest{Key: "gossip"})
	return refused("what is no report", err)
}

// refused reports an error unless err is a denial.
func refused(what string, err error) error {
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("%s: want %v, got %v", what, codes.PermissionDenied, err)
	}
	log.Printf("archivist: refused: %s: %v", what, err)
	return nil
}
