package main

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// who serves calls, each answered by who has made it, as the library says.
func who(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	return d.Serve(ctx, iface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
		if _, err := call.Recv(); err != nil {
			return err
		}
		p, ok := gate.PeerFrom(ctx)
		return call.Send(text(fmt.Sprintf("%v %q uid %d ring %d groups %v", ok, p.Name, p.UID, p.Ring, p.Groups)))
	}))
}

// ask asks a server who this is, by the name server or at a socket, and says what
// it and the gate say.
func ask(ctx context.Context, socket string) error {
	var c *gate.Client
	var err error
	if socket != "" {
		c, err = gate.DialSocket(ctx, socket)
	} else {
		var d *gate.Domain
		if d, err = gate.Self(); err == nil {
			c, err = d.Open(ctx, iface, gate.Wait())
		}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	reply, err := c.Invoke(ctx, "Say", text("hello"), nil)
	if err != nil {
		return err
	}
	_, _, n := protowire.ConsumeTag(reply)
	said, _ := protowire.ConsumeString(reply[max(n, 0):])
	fmt.Printf("I am %s; it is %q\n", said, c.Peer().Name)
	if socket == "" {
		<-ctx.Done()
	}
	return nil
}
