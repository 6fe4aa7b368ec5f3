// Command camera takes pictures. Each is memory that it makes, draws in, and
// gives to the caller, to be read. From that moment on nobody can change it, not
// even the camera. On a board in shared memory it keeps count.
package main

import (
	"context"
	"fmt"
	"image/png"
	"io"
	"log"
	"os/signal"
	"sync"
	"syscall"

	"ward/examples/frames/board"
	"ward/examples/frames/framesv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("camera: ", err)
	}
}

func serve(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	shared, err := d.OpenMemory(ctx, "board", gate.ReadWrite)
	if err != nil {
		return err
	}
	c := &camera{domain: d}
	if c.board, err = shared.Bytes(); err != nil {
		return err
	}
	board.Write(c.board, board.State{})
	box, err := d.OpenMailbox(ctx, framesv1.Events_ServiceDesc.ServiceName)
	if err != nil {
		return err
	}
	c.events = framesv1.NewEventsClient(grpcgate.Poster(box))
	s := grpcgate.NewServer()
	framesv1.RegisterCameraServer(s, c)
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

// camera answers the calls on Camera.
type camera struct {
	framesv1.UnimplementedCameraServer
	domain *gate.Domain
	events framesv1.EventsClient

	mu    sync.Mutex
	shots uint32
	board []byte
}

func (c *camera) Shoot(ctx context.Context, r *framesv1.ShootRequest) (*framesv1.Frame, error) {
	frame := &framesv1.Frame{Title: c.count()}
	memory, err := c.domain.Make(ctx, "frames", 0) // as large as one may be
	if err != nil {
		return nil, err
	}
	defer memory.Close() // what was offered stays until it is given
	b, err := memory.Bytes()
	if err != nil {
		return nil, err
	}
	film := &film{b: b}
	if err := png.Encode(film, draw(frame.Title, int(r.GetWidth()), int(r.GetHeight()))); err != nil {
		return nil, err
	}
	frame.Length = uint32(film.n)

	// Memory that is given to be read only must not be mapped for writing any more.
	if err := memory.Unmap(); err != nil {
		return nil, err
	}
	if frame.Memory, err = grpcgate.OfferTo(ctx, memory, gate.ReadOnly); err != nil {
		return nil, err
	}
	who, _ := gate.PeerFrom(ctx)
	// A note for whoever reads them, now or later. Nobody answers.
	_, err = c.events.Note(ctx, &framesv1.Event{Text: fmt.Sprintf("%s taken for %s, %d bytes", frame.Title, who.Name, frame.Length)})
	return frame, err
}

// count names the next picture, and writes it on the board.
func (c *camera) count() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shots++
	title := fmt.Sprintf("frame-%d", c.shots)
	board.Write(c.board, board.State{Shots: c.shots, Title: title})
	return title
}

// film is a stretch of memory that is written once, from its beginning.
type film struct {
	b []byte
	n int
}

func (f *film) Write(p []byte) (int, error) {
	n := copy(f.b[f.n:], p)
	f.n += n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}
