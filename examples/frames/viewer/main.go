// Command viewer asks the camera for pictures, sees that they are what it asked
// for, and hands them on to the album. It reads the board beside.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"log"
	"time"

	"ward/examples/frames/board"
	"ward/examples/frames/framesv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

const (
	camera = "frames.v1.Camera"
	album  = "frames.v1.Album"
	shots  = 3
	width  = 320
	height = 240
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := gate.Self()
	if err == nil {
		err = run(ctx, d)
		err = errors.Join(err, note(ctx, d, "the viewer has seen enough")) // the logger waits for it
	}
	if err != nil {
		log.Fatal("viewer: ", err)
	}
}

func run(ctx context.Context, d *gate.Domain) error {
	cameras, err := grpcgate.Dial(ctx, camera)
	if err != nil {
		return err
	}
	defer cameras.Close()
	albums, err := grpcgate.Dial(ctx, album, grpcgate.WithServer("album"))
	if err != nil {
		return err
	}
	defer albums.Close()
	for range shots {
		frame, err := framesv1.NewCameraClient(cameras).Shoot(ctx, &framesv1.ShootRequest{Width: width, Height: height})
		if err != nil {
			return err
		}
		if err := look(ctx, frame, cameras, albums); err != nil {
			return fmt.Errorf("%s: %w", frame.GetTitle(), err)
		}
	}
	return read(ctx, d)
}

// look takes a picture, looks at it, and gives it to the album.
func look(ctx context.Context, frame *framesv1.Frame, cameras, albums *grpcgate.Conn) error {
	memory, err := cameras.Redeem(ctx, camera, frame.GetMemory())
	if err != nil {
		return err
	}
	defer memory.Close()
	b, err := memory.Bytes()
	if err != nil {
		return err
	}
	// The length is what the camera says: within its bounds, perhaps not within the memory.
	if int(frame.GetLength()) > len(b) {
		return fmt.Errorf("a picture of %d bytes in memory of %d", frame.GetLength(), len(b))
	}
	// It is decoded where it is. That is safe since it is constant: what could
	// change meanwhile would have to be copied first.
	if !memory.Constant() {
		return errors.New("somebody may still write it")
	}
	picture, err := png.Decode(bytes.NewReader(b[:frame.GetLength()]))
	if err != nil {
		return err
	}
	if size := picture.Bounds().Size(); size.X != width || size.Y != height {
		return fmt.Errorf("%v, asked for %dx%d", size, width, height)
	}
	log.Printf("viewer: %s, a picture of %dx%d in %d bytes", frame.GetTitle(), width, height, frame.GetLength())

	handle, err := albums.Offer(ctx, album, memory, gate.ReadOnly)
	if err != nil {
		return err
	}
	reply, err := framesv1.NewAlbumClient(albums).Keep(ctx, &framesv1.Frame{Title: frame.GetTitle(), Length: frame.GetLength(), Memory: handle})
	if err != nil {
		return err
	}
	log.Printf("viewer: the album has %d", reply.GetKept())
	return nil
}

// read reads the board.
func read(ctx context.Context, d *gate.Domain) error {
	memory, err := d.OpenMemory(ctx, "board", gate.ReadOnly)
	if err != nil {
		return err
	}
	defer memory.Close()
	b, err := memory.Bytes()
	if err != nil {
		return err
	}
	state, err := board.Read(b)
	if err != nil {
		return err
	}
	if state.Shots < shots {
		return fmt.Errorf("the board says %d pictures, and there were %d at least", state.Shots, shots)
	}
	log.Print("viewer: the board counts every picture")
	return nil
}

// note leaves an event for the logger.
func note(ctx context.Context, d *gate.Domain, text string) error {
	events, err := d.OpenMailbox(ctx, framesv1.Events_ServiceDesc.ServiceName)
	if err != nil {
		return err
	}
	defer events.Close()
	_, err = framesv1.NewEventsClient(grpcgate.Poster(events)).Note(ctx, &framesv1.Event{Text: text})
	return err
}
