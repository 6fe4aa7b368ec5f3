// Command logger reads what the others noted. They do not wait for it: what is
// noted before it runs is there when it comes.
package main

import (
	"context"
	"errors"
	"log"
	"strings"
	"time"

	"ward/examples/frames/framesv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := gate.Self()
	if err == nil {
		err = grpcgate.Receive(ctx, d, "events", &framesv1.Events_ServiceDesc, notes{})
	}
	if !errors.Is(err, errDone) {
		log.Fatal("logger: no end of the notes: ", err)
	}
}

// errDone ends the reading.
var errDone = errors.New("the last note was read")

// notes is called for one note after the other.
type notes struct {
	framesv1.UnimplementedEventsServer
}

func (notes) Note(ctx context.Context, event *framesv1.Event) (*framesv1.Noted, error) {
	from, _ := gate.PeerFrom(ctx) // who wrote it, as the monitor knows
	log.Printf("logger: %s: %s", from.Name, event.GetText())
	if from.Name == "viewer" && strings.HasPrefix(event.GetText(), "the viewer has seen") {
		return nil, errDone
	}
	return &framesv1.Noted{}, nil
}
