// Command valid-client is what the policy was written for: it fetches
// pictures, verifies that they decode, and keeps one. Then it goes to the edge
// of what it may do, and one step beyond: it must be told so, clearly.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

const (
	pictures = "picture.v1.Pictures"
	drafts   = "picture.v1.Drafts"
	kept     = "/tmp/kept.png"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{fetch, beyond, comeAndGo} {
		if err := step(ctx); err != nil {
			log.Fatal("valid-client: ", err)
		}
	}
}

// fetch fetches every picture in the list that is no draft, watches one and keeps one.
func fetch(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, pictures)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := picturev1.NewPicturesClient(conn)
	list, err := client.List(ctx, &picturev1.ListRequest{Limit: 16})
	if err != nil {
		return err
	}
	for _, name := range list.GetNames() {
		if strings.HasPrefix(name, "draft-") {
			continue
		}
		request := ask(name, 256)
		reply, err := client.Get(ctx, request)
		if err != nil {
			return err
		}
		if err := verify(request, reply.GetPicture()); err != nil {
			return err
		}
		if err := os.WriteFile(kept, reply.GetPicture(), 0o600); err != nil {
			return err
		}
	}
	return watch(ctx, client, ask("night", 320))
}

func watch(ctx context.Context, client picturev1.PicturesClient, request *picturev1.GetRequest) error {
	stream, err := client.Watch(ctx, request)
	if err != nil {
		return err
	}
	var picture []byte
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return verify(request, picture)
		}
		if err != nil {
			return err
		}
		picture = append(picture, piece.GetData()...)
	}
}

// beyond asks for more than the policy grants.
func beyond(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, pictures)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := picturev1.NewPicturesClient(conn)
	_, err = client.Get(ctx, ask("night", 2048))
	if err := refused("a picture of 2048 pixels", codes.PermissionDenied, err); err != nil {
		return err
	}
	_, err = client.Get(ctx, ask("draft-meadow", 256))
	if err := refused("a draft", codes.PermissionDenied, err); err != nil {
		return err
	}
	// A name that is a path is outside the bounds of the interface.
	_, err = client.Get(ctx, ask("../../etc/shadow", 256))
	return refused("a path as a name", codes.InvalidArgument, err)
}

// comeAndGo uses an interface that is published while the system runs, and
// sees it withdrawn.
func comeAndGo(ctx context.Context) error {
	// Dial waits until somebody publishes it.
	conn, err := grpcgate.Dial(ctx, drafts)
	if err != nil {
		return err
	}
	reply, err := picturev1.NewDraftsClient(conn).Latest(ctx, &picturev1.LatestRequest{})
	conn.Close()
	if err != nil {
		return err
	}
	log.Printf("valid-client: the latest draft is %s", reply.GetName())

	// The manager withdraws Drafts after its answer: from then on a lookup fails.
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := grpcgate.Dial(ctx, drafts, grpcgate.WithoutWait())
		switch status.Code(err) {
		case codes.OK:
			conn.Close()
		case codes.NotFound:
			log.Printf("valid-client: %s was withdrawn: %v", drafts, err)
			return nil
		case codes.Unavailable: // withdrawn between the lookup and the gate
		default:
			return fmt.Errorf("%s after it was withdrawn: want NotFound, got %w", drafts, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s was never withdrawn", drafts)
		}
	}
}

func ask(name string, width uint32) *picturev1.GetRequest {
	return &picturev1.GetRequest{Name: name, Width: width, Height: width * 3 / 4, Format: picturev1.Format_FORMAT_PNG}
}

// verify reports an error unless file is a PNG of the size that was asked for.
func verify(r *picturev1.GetRequest, file []byte) error {
	picture, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return fmt.Errorf("%s: %w", r.GetName(), err)
	}
	size := picture.Bounds().Size()
	if size.X != int(r.GetWidth()) || size.Y != int(r.GetHeight()) {
		return fmt.Errorf("%s: %v, asked for %dx%d", r.GetName(), size, r.GetWidth(), r.GetHeight())
	}
	log.Printf("valid-client: %s, %d bytes, %dx%d", r.GetName(), len(file), size.X, size.Y)
	return nil
}

// refused reports an error unless err is the answer that is wanted.
func refused(what string, want codes.Code, err error) error {
	if status.Code(err) != want {
		return fmt.Errorf("%s: want %v, got %v", what, want, err)
	}
	log.Printf("valid-client: %s: %v", what, err)
	return nil
}
