// Command reader follows the journal until it has seen three entries, and
// checks that none is missing or changed. Then it tries to append.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/secure-logger/logv1"
	"ward/gate/grpcgate"
)

const entries = 3

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("reader: ", err)
	}
}

func run(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, "log.v1.Journal")
	if err != nil {
		return err
	}
	defer conn.Close()
	client := logv1.NewJournalClient(conn)
	if err := follow(ctx, client); err != nil {
		return err
	}
	_, err = client.Append(ctx, &logv1.AppendRequest{From: "application", Level: logv1.Level_LEVEL_INFO, Text: "forged"})
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("appending: want %v, got %v", codes.PermissionDenied, err)
	}
	log.Printf("reader: refused: an entry of its own: %v", err)
	return nil
}

func follow(ctx context.Context, client logv1.JournalClient) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	stream, err := client.Follow(ctx, &logv1.FollowRequest{})
	if err != nil {
		return err
	}
	var before []byte
	for n := range uint64(entries) {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		if e.GetNumber() != n+1 || !bytes.Equal(e.GetDigest(), digest(before, e)) {
			return fmt.Errorf("entry %d, after %d: the journal was changed", e.GetNumber(), n)
		}
		log.Printf("reader: %d, from %s: %s", e.GetNumber(), e.GetFrom(), e.GetText())
		before = e.GetDigest()
	}
	return nil
}

// digest is what the journal's digest of an entry has to be: SHA-256 over that
// of the entry before, the number, and each text with its length before it.
func digest(before []byte, e *logv1.Entry) []byte {
	h := sha256.New()
	h.Write(before)
	for _, part := range []string{fmt.Sprint(e.GetNumber()), e.GetFrom(), e.GetLevel().String(), e.GetText()} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		io.WriteString(h, part)
	}
	return h.Sum(nil)
}
