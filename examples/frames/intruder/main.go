// Command intruder may ask for pictures and look at them. It tries everything
// beyond that: to write what it was given to be read, to use handles that it was
// not given, to pass pictures to somebody who may not see them. It exits 1 if
// anything gets through.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"ward/examples/frames/framesv1"
	"ward/gate"
	"ward/gate/grpcgate"
)

const (
	camera = "frames.v1.Camera"
	albums = "frames.v1.Album"
	events = "frames.v1.Events"
)

// attempts counts what was tried, and what got through.
type attempts struct{ all, through int }

// refused counts an attempt: err says why it failed.
func (a *attempts) refused(what string, err error) {
	a.all++
	if err == nil {
		a.through++
		log.Printf("intruder: GOT THROUGH: %s", what)
		return
	}
	log.Printf("intruder: refused: %s: %v", what, err)
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var a attempts
	d, err := gate.Self()
	if err == nil {
		err = run(ctx, d, &a)
	}
	if err != nil {
		log.Fatal("intruder: ", err)
	}
	log.Printf("intruder: %d attempts, %d got through", a.all, a.through)
	if a.through > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, d *gate.Domain, a *attempts) error {
	cameras, err := grpcgate.Dial(ctx, camera)
	if err != nil {
		return err
	}
	defer cameras.Close()
	frame, err := framesv1.NewCameraClient(cameras).Shoot(ctx, &framesv1.ShootRequest{Width: 64, Height: 48})
	if err != nil {
		return err
	}
	picture, err := cameras.Redeem(ctx, camera, frame.GetMemory())
	if err != nil {
		return err
	}
	defer picture.Close()
	if err := overwrite(a, "the picture", picture); err != nil {
		return err
	}
	board, err := d.OpenMemory(ctx, "board", gate.ReadOnly)
	if err != nil {
		return err
	}
	defer board.Close()
	if err := overwrite(a, "the board", board); err != nil { // others may write it, and it is not sealed
		return err
	}

	_, err = d.OpenMemory(ctx, "board", gate.ReadWrite)
	a.refused("the board, to be written", err)
	_, err = d.Make(ctx, "frames", 4096)
	a.refused("a picture of its own", err)
	_, err = d.OpenMailbox(ctx, events)
	a.refused("a note for the logger", err)
	err = d.Receive(ctx, "events", func(context.Context, string, []byte) error { return nil })
	a.refused("reading the notes of others", err)
	_, err = cameras.Redeem(ctx, camera, frame.GetMemory())
	a.refused("the same picture a second time", err)
	return pass(ctx, a, cameras, frame, picture)
}

// pass tries to give what it may not give.
func pass(ctx context.Context, a *attempts, cameras *grpcgate.Conn, frame *framesv1.Frame, picture *gate.Memory) error {
	conn, err := grpcgate.Dial(ctx, albums, grpcgate.WithServer("album"))
	if err != nil {
		return err
	}
	defer conn.Close()
	album := framesv1.NewAlbumClient(conn)

	// The number of a handle says nothing on another gate.
	_, err = album.Keep(ctx, frame)
	a.refused("the camera's handle, given on as it is", err)
	guessed := &framesv1.Frame{Title: "guessed", Length: frame.GetLength(), Memory: grpcgate.ToProto(grpcgate.FromProto(frame.GetMemory()))}
	tries := 0
	for generation := range uint64(4) {
		for row := range uint64(4) {
			guessed.Memory.Id = (generation+1)<<16 | row
			if _, err = album.Keep(ctx, guessed); err == nil {
				break
			}
			tries++
			if _, err := cameras.Redeem(ctx, camera, guessed.GetMemory()); err == nil {
				a.refused("a picture by a guessed number", nil)
			}
		}
	}
	a.refused(fmt.Sprintf("%d guessed handles", tries), err)

	// An offer of its own says what it is, and passes once.
	for what, lie := range map[string]func(f *framesv1.Frame){
		"a handle that says more than was offered": func(f *framesv1.Frame) { f.Memory.Size *= 2 },
		"a handle to be written":                   func(f *framesv1.Frame) { f.Memory.Write = true },
	} {
		handle, err := conn.Offer(ctx, albums, picture, gate.ReadOnly)
		if err != nil {
			return err
		}
		lying := &framesv1.Frame{Title: "lie", Length: frame.GetLength(), Memory: handle}
		lie(lying)
		_, err = album.Keep(ctx, lying)
		a.refused(what, err)
	}
	_, err = conn.Offer(ctx, albums, picture, gate.ReadWrite)
	a.refused("an offer to write", err)

	printers, err := grpcgate.Dial(ctx, albums, grpcgate.WithServer("printer"))
	if err != nil {
		return err
	}
	defer printers.Close()
	_, err = printers.Offer(ctx, albums, picture, gate.ReadOnly)
	a.refused("a picture for the printer, who may not see it", err)

	// Not that offers never pass: the album may have it.
	handle, err := conn.Offer(ctx, albums, picture, gate.ReadOnly)
	if err != nil {
		return err
	}
	given := &framesv1.Frame{Title: "given", Length: frame.GetLength(), Memory: handle}
	_, err = framesv1.NewAlbumClient(printers).Keep(ctx, given)
	a.refused("the album's handle, sent to the printer", err)
	if _, err := album.Keep(ctx, given); err != nil {
		return fmt.Errorf("what it may do: %w", err)
	}
	_, err = album.Keep(ctx, given)
	a.refused("the same handle once more", err)
	return nil
}

// overwrite tries to change memory that may be read only.
func overwrite(a *attempts, name string, m *gate.Memory) error {
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	before := bytes.Clone(b[:64])
	for what, try := range writes {
		a.refused(name+": "+what, try(m))
	}
	if name == "the picture" && !bytes.Equal(b[:64], before) { // the board changes with each picture
		a.refused("a picture that has changed", nil)
	}
	return nil
}
