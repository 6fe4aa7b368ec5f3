package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// Peers call each other, and number what they say, each for itself: "call 1",
// which the policy permits, "secret 1", which it does not, "call 2", and so on. So
// whoever is called, and the audit log, can tell that every call came once, in its
// order, and that no secret did. A peer ends with an error as soon as it sees
// something else, or a call of its own is not answered as it must be.

// peers is what a peer was told by others.
type peers struct {
	mu    sync.Mutex
	heard map[string]int // the last call, by who said it
}

// hear answers a call with what it says.
func (p *peers) hear(ctx context.Context, call *gate.ServerCall) error {
	b, err := call.Recv()
	if err != nil {
		return err
	}
	from, _ := gate.PeerFrom(ctx)
	said := texts(b)[1]
	p.mu.Lock()
	p.heard[from.Name]++
	want := fmt.Sprintf("call %d", p.heard[from.Name])
	p.mu.Unlock()
	if said != want {
		fmt.Printf("probe: %s says %q, and %q was to come\n", from.Name, said, want)
		os.Exit(1)
	}
	return call.Send(b)
}

// peer serves, unless it is a caller only, and calls another one that does.
func peer(ctx context.Context, pace string, next string, serves bool) error {
	every, err := time.ParseDuration(pace)
	if err != nil {
		return err
	}
	d, err := gate.Self()
	if err != nil {
		return err
	}
	if serves {
		p := &peers{heard: map[string]int{}}
		s, err := d.Start(ctx, iface, gate.HandlerFunc(p.hear))
		if err != nil {
			return err
		}
		defer s.Close()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var c *gate.Client
	for c == nil {
		var refused *gate.Error
		if c, err = d.Open(ctx, iface, gate.At(next)); err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
			return err
		}
		select {
		case <-tick.C: // it may not serve yet
		case <-ctx.Done():
			return nil
		}
	}
	said := 0
	// The audit log has all of these, and of the next one perhaps what the end of the system met on its way.
	defer func() { fmt.Printf("said %d\n", said) }()
	for ctx.Err() == nil {
		text := fmt.Sprintf("call %d", said+1)
		reply, err := c.Invoke(ctx, "Say", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), text), nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", text, err)
		case texts(reply)[1] != text:
			return fmt.Errorf("%s: it was answered %q", text, texts(reply)[1])
		}
		secret := fmt.Sprintf("secret %d", said+1)
		var denied *gate.Error
		if err := say(ctx, c, secret); ctx.Err() == nil && (!errors.As(err, &denied) || !denied.Denied()) {
			return fmt.Errorf("%s got through: %v", secret, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		said++
		short, cancel := context.WithTimeout(ctx, time.Second)
		another, err := d.Open(short, iface, gate.At(next))
		cancel()
		switch {
		case err == nil:
			another.Close()
		case ctx.Err() == nil:
			fmt.Println("no gate:", strings.TrimSpace(err.Error()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}
