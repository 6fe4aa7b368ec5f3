// Command desk makes a clerk, lends it one entry point twice, and makes a copy
// of itself that may only read. The copy runs this program, too: it knows by
// its name that it is one. With the argument "stay" both stay until they are
// stopped, to be looked at.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/spawn/docsv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

const (
	read  = "docs.v1.Documents/Read"
	write = "docs.v1.Documents/Write"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d, err := gate.Self()
	if err != nil {
		log.Fatal("desk: ", err)
	}
	run := desk
	if strings.Contains(d.Name(), "#") {
		run = copied
	}
	if err := run(ctx, d); err != nil {
		log.Fatalf("%s: %v", d.Name(), err)
	}
	if stay() {
		<-ctx.Done()
	}
}

func stay() bool { return len(os.Args) > 1 && os.Args[1] == "stay" }

func desk(ctx context.Context, d *gate.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := grpcgate.Dial(ctx, "docs.v1.Documents")
	if err != nil {
		return err
	}
	defer conn.Close()
	docs := docsv1.NewDocumentsClient(conn)
	for name, text := range map[string]string{"public-menu": "soup", "secret-plan": "more soup"} {
		if _, err := docs.Write(ctx, &docsv1.WriteRequest{Name: name, Text: text}); err != nil {
			return err
		}
	}

	// A right that the template lacks is no right to give.
	_, err = d.Spawn(ctx, "clerk", gate.SpawnOptions{Rights: []string{write}})
	if err := refused("a clerk that writes", err); err != nil {
		return err
	}
	clerk, err := d.Spawn(ctx, "clerk", gate.SpawnOptions{Rights: []string{read}, Lifetime: time.Minute})
	if err != nil {
		return err
	}
	log.Printf("desk: made %s", clerk.Name())
	// For two calls within the next half minute it writes in the desk's name.
	if _, err := d.Delegate(ctx, clerk.Name(), write, 30*time.Second, 2); err != nil {
		return err
	}
	_, err = d.Delegate(ctx, clerk.Name(), read, 30*time.Second, 2)
	if err := refused("to lend what no policy lets it lend", err); err != nil {
		return err
	}
	if err := success(ctx, clerk); err != nil {
		return err
	}
	r, err := docs.Read(ctx, &docsv1.ReadRequest{Name: "order-2"})
	if err != nil {
		return err
	}
	log.Printf("desk: the clerk ordered %q", r.GetText())

	smaller, err := d.Spawn(ctx, "", gate.SpawnOptions{Rights: []string{read}, Lifetime: time.Hour, Processes: 64, Memory: 64 << 20})
	if err != nil {
		return err
	}
	log.Printf("desk: made %s", smaller.Name())
	if stay() {
		return nil
	}
	return success(ctx, smaller)
}

// success waits for the end of a child that has found all as it should be.
func success(ctx context.Context, c *gate.Child) error {
	st, err := c.Wait(ctx)
	if err == nil && st != 0 {
		err = fmt.Errorf("%s ended with status %d", c.Name(), st)
	}
	return err
}

// copied is what a copy of the desk does: it may read what the desk may.
func copied(ctx context.Context, d *gate.Domain) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := grpcgate.Dial(ctx, "docs.v1.Documents")
	if err != nil {
		return err
	}
	defer conn.Close()
	docs := docsv1.NewDocumentsClient(conn)
	r, err := docs.Read(ctx, &docsv1.ReadRequest{Name: "secret-plan"})
	if err != nil {
		return err
	}
	log.Printf("%s: read %q", d.Name(), r.GetText())
	_, err = docs.Write(ctx, &docsv1.WriteRequest{Name: "secret-plan", Text: "no soup"})
	if err := refused("a copy writes, which it was not given", err); err != nil {
		return err
	}
	_, err = d.Spawn(ctx, "clerk", gate.SpawnOptions{Rights: []string{read}})
	return refused("a copy makes a clerk", err)
}

// refused reports an error unless err is a refusal.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("GOT THROUGH: %s", what)
	}
	for _, code := range []codes.Code{status.Code(err), codes.Code(gate.AsError(err).Code)} { // of a call, or of the monitor
		if code == codes.PermissionDenied || code == codes.ResourceExhausted {
			log.Printf("refused: %s: %v", what, err)
			return nil
		}
	}
	return fmt.Errorf("%s: want a refusal, got %w", what, err)
}
