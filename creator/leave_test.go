package creator

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
)

// after runs a creator in the place of another that made what runs, in its cgroup.
func (w *world) after() *world {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	next := &world{t: w.t, served: make(chan error, 1), img: w.img, cgroup: w.cgroup, stop: true}
	cfg := Config{UIDBase: testUIDs, Cgroup: w.cgroup, Again: true}
	go func() { next.served <- Serve(os.NewFile(uintptr(pair[1]), "creator"), w.img, cfg) }()
	next.client = NewClient(os.NewFile(uintptr(pair[0]), "monitor"))
	return next
}

// A creator that takes over and cannot be told what runs ends without ending it, and
// the next one takes it over. The end of the system, and a breach of the protocol
// once it serves, end all as before: those are the controls.
func TestLeavesOthers(t *testing.T) {
	ctx := context.Background()
	breach := func(t *testing.T, w *world) {
		if _, err := unix.Write(w.client.fd, (&message{op: 15, seq: 1}).encode()); err != nil {
			t.Fatal(err)
		}
	}
	adopted := func(t *testing.T, w *world, l *live) {
		if err := w.client.Adopt(ctx, 0, l.PID, l.Pidfd); err != nil {
			t.Fatal(err)
		}
	}
	settled := func(t *testing.T, w *world, l *live) {
		adopted(t, w, l)
		if err := w.client.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		fails func(*testing.T, *world, *live)
		lives bool
	}{
		"told nothing":             {func(t *testing.T, w *world, _ *live) { w.client.Leave(ctx) }, true},
		"told a part":              {func(t *testing.T, w *world, l *live) { adopted(t, w, l); w.client.Leave(ctx) }, true},
		"cannot go on":             {func(t *testing.T, w *world, l *live) { adopted(t, w, l); breach(t, w) }, true},
		"given up though it knows": {func(t *testing.T, w *world, l *live) { settled(t, w, l); w.client.Leave(ctx) }, true},
		"breach once it serves":    {func(t *testing.T, w *world, l *live) { settled(t, w, l); breach(t, w) }, false},
		"breach of one that started something": {func(t *testing.T, w *world, _ *live) {
			l, err := w.start(1)
			if err != nil {
				t.Fatal(err)
			}
			l.ready(t)
			breach(t, w)
		}, false},
		"end of the system":                      {func(t *testing.T, w *world, _ *live) { w.client.Close() }, false},
		"end of the system when it knows a part": {func(t *testing.T, w *world, l *live) { adopted(t, w, l); w.client.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			idle := image.Domain{Name: "idle", Program: hostile, Args: []string{"idle"}}
			other := idle
			other.Name = "other"
			before := newWorld(t, 0, idle, other)
			l, err := before.start(0)
			if err != nil {
				t.Fatal(err)
			}
			l.ready(t)
			w := before.after()
			c.fails(t, w, l)
			err = <-w.served
			if errors.Is(err, ErrUnserved) != c.lives {
				t.Errorf("the creator ended with %v", err)
			}
			for range w.client.Exits() {
			}
			if hasEnded(l.Pidfd) == c.lives {
				t.Fatalf("the domain lives: %v, want %v", !c.lives, c.lives)
			}
			if !c.lives { // and its cgroup is gone, which the one before would remove
				before.stop = true
				before.client.Close()
				<-before.served
				return
			}
			next := before.after()
			settled(t, next, l)
			if err := next.client.Signal(ctx, 0, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			ends(t, l)
			if err := next.client.Leave(ctx); err != nil {
				t.Error(err)
			}
			<-next.served
			if e := <-before.client.Exits(); e.Status.Signal() != syscall.SIGKILL {
				t.Errorf("%+v", e)
			}
		})
	}
}
