// Command clerk has an invoice signed, and checks the mark.
package main

import (
	"context"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/keys/keysv1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("clerk: ", err)
	}
}

func run(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, keysv1.Signer_ServiceDesc.ServiceName)
	if err != nil {
		return err
	}
	defer conn.Close()
	signer := keysv1.NewSignerClient(conn)
	const invoice = "invoice 17: three hats"
	signed, err := signer.Sign(ctx, &keysv1.SignRequest{Document: invoice})
	if err != nil {
		return err
	}
	for _, document := range []string{invoice, "invoice 17: thirty hats"} {
		checked, err := signer.Check(ctx, &keysv1.CheckRequest{Document: document, Mark: signed.GetMark()})
		if err != nil {
			return err
		}
		log.Printf("clerk: %q is genuine: %v", document, checked.GetGenuine())
	}
	if _, err := signer.Sign(ctx, &keysv1.SignRequest{Document: "contract 4"}); status.Code(err) != codes.PermissionDenied {
		log.Fatalf("clerk: a contract is signed: %v", err)
	}
	log.Print("clerk: contracts are not signed for clerks")
	return nil
}
