// Command outside-client is an ordinary program of an ordinary user: Ward did
// not start it, and it has no rights but those that the policy gives its user.
// It connects to a known path; the monitor learns from the kernel who it is.
//
//	outside-client [-socket PATH] [-width N] [NAME]
//
// It exits 0 if it got the picture, 1 if that was denied or failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	socket := flag.String("socket", "/run/ward-picture.sock", "where picture.v1.Pictures is exported")
	width := flag.Uint("width", 64, "of the picture, in pixels")
	flag.Parse()
	name := "night"
	if flag.NArg() > 0 {
		name = flag.Arg(0)
	}
	if err := get(*socket, name, uint32(*width)); err != nil {
		log.Fatal("outside-client: ", err)
	}
}

func get(socket, name string, width uint32) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := grpcgate.Dial(ctx, "picture.v1.Pictures", grpcgate.WithSocket(socket))
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := picturev1.NewPicturesClient(conn).Get(ctx, &picturev1.GetRequest{
		Name: name, Width: width, Height: width, Format: picturev1.Format_FORMAT_PNG})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%s: %d bytes\n", name, len(reply.GetPicture()))
	return nil
}
