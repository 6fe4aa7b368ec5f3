// Command clerk is a child of the desk. It does what it may, then tries what a
// program that was taken over would try: it exits 1 if anything gets through.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/spawn/docsv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := gate.Self()
	if err == nil {
		err = run(ctx, d)
	}
	if err != nil {
		log.Fatal("clerk: ", err)
	}
}

func run(ctx context.Context, d *gate.Domain) error {
	conn, err := grpcgate.Dial(ctx, "docs.v1.Documents")
	if err != nil {
		return err
	}
	defer conn.Close()
	docs := docsv1.NewDocumentsClient(conn)
	r, err := docs.Read(ctx, &docsv1.ReadRequest{Name: "public-menu"})
	if err != nil {
		return err
	}
	log.Printf("clerk: read %q", r.GetText())

	_, err = docs.Read(ctx, &docsv1.ReadRequest{Name: "secret-plan"})
	if err := refused("what the desk may read and clerks may not", err); err != nil {
		return err
	}
	_, err = docs.Read(ctx, &docsv1.ReadRequest{Name: "charter"})
	if err := refused("what clerks may read and the desk may not", err); err != nil {
		return err
	}
	_, err = docs.Write(ctx, &docsv1.WriteRequest{Name: "order-0", Text: "soup"})
	if err := refused("a right that it was not given", err); err != nil {
		return err
	}
	_, err = d.Spawn(ctx, "clerk", gate.SpawnOptions{})
	if err := refused("a clerk of its own", err); err != nil {
		return err
	}
	return borrow(ctx, d)
}

// borrow writes in the desk's name, as often as it may.
func borrow(ctx context.Context, d *gate.Domain) error {
	loan, err := d.Loan(ctx, "docs.v1.Documents/Write")
	if err != nil {
		return err
	}
	g, err := loan.Open(ctx, "")
	if err != nil {
		return err
	}
	conn := grpcgate.NewConn(g)
	defer conn.Close()
	docs := docsv1.NewDocumentsClient(conn)
	_, err = docs.Read(ctx, &docsv1.ReadRequest{Name: "secret-plan"})
	if err := refused("reading by a delegation to write", err); err != nil {
		return err
	}
	_, err = docs.Write(ctx, &docsv1.WriteRequest{Name: "charter", Text: "I, the clerk"})
	if err := refused("what the desk may not write either", err); err != nil {
		return err
	}
	for i := 1; i <= 2; i++ {
		if _, err := docs.Write(ctx, &docsv1.WriteRequest{Name: fmt.Sprintf("order-%d", i), Text: "soup"}); err != nil {
			return err
		}
	}
	log.Print("clerk: wrote twice in the desk's name")
	_, err = docs.Write(ctx, &docsv1.WriteRequest{Name: "order-3", Text: "soup"})
	return refused("a third time", err)
}

// refused reports an error unless err is a refusal.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("GOT THROUGH: %s", what)
	}
	for _, code := range []codes.Code{status.Code(err), codes.Code(gate.AsError(err).Code)} { // of a call, or of the monitor
		if code == codes.PermissionDenied || code == codes.ResourceExhausted {
			log.Printf("clerk: refused: %s: %v", what, err)
			return nil
		}
	}
	return fmt.Errorf("%s: want a refusal, got %w", what, err)
}
