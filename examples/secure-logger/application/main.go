// Command application writes three entries. Then it tries what a program that
// was taken over would try, so as to hide its tracks: all of it must be denied.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/secure-logger/logv1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("application: ", err)
	}
}

func run(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, "log.v1.Log")
	if err != nil {
		return err
	}
	defer conn.Close()
	client := logv1.NewLogClient(conn)
	write := func(level logv1.Level, text string) error {
		_, err := client.Write(ctx, &logv1.WriteRequest{Level: level, Text: text})
		return err
	}
	for _, text := range []string{"started", "alice logged in", "alice deleted invoice 17"} {
		if err := write(logv1.Level_LEVEL_INFO, text); err != nil {
			return err
		}
		log.Printf("application: wrote %q", text)
	}

	err = write(logv1.Level_LEVEL_INFO, "quiet\n4 logger LEVEL_INFO nothing to see")
	if err := refused("an entry of two lines", codes.InvalidArgument, err); err != nil {
		return err
	}
	err = write(logv1.Level_LEVEL_ALERT, "it was bob")
	if err := refused("an alert in the logger's name", codes.PermissionDenied, err); err != nil {
		return err
	}
	journal, err := grpcgate.Dial(ctx, "log.v1.Journal", grpcgate.WithServer("journal"))
	if err == nil {
		journal.Close()
	}
	return refused("a gate to the journal", codes.PermissionDenied, err)
}

// refused reports an error unless err is the answer that is wanted.
func refused(what string, want codes.Code, err error) error {
	if status.Code(err) != want {
		return fmt.Errorf("%s: want %v, got %v", what, want, err)
	}
	log.Printf("application: refused: %s: %v", what, err)
	return nil
}
