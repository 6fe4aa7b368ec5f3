// Command logger reads what the others noted. They do not wait for it: what is
// noted before it runs is there when it comes.
package main

import (
	"context"
	"errors"
	"log"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"ward/examples/frames/framesv1"
	"ward/gate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("logger: ", err)
	}
}

// errDone ends the reading.
var errDone = errors.New("done")

func run(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	err = d.Receive(ctx, "events", func(ctx context.Context, method string, message []byte) error {
		var event framesv1.Event
		if err := proto.Unmarshal(message, &event); err != nil {
			return err
		}
		from, _ := gate.PeerFrom(ctx) // who wrote it, as the kernel knows
		log.Printf("logger: %s: %s", from.Name, event.GetText())
		if from.Name == "viewer" && strings.HasPrefix(event.GetText(), "the viewer has seen") {
			return errDone
		}
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
