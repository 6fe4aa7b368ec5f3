package upbench

import (
	"context"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// The domains of Children.

const makerIface = "bench.up.v1.Maker"

// maker makes a child when it is asked, and waits for its end.
func maker(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	var o gate.SpawnOptions
	if d.Name() == "keeps" {
		o.Rights = []string{iface + "/Greet"}
	}
	return d.Serve(ctx, makerIface, gate.HandlerFunc(func(ctx context.Context, c *gate.ServerCall) error {
		if _, err := c.Recv(); err != nil {
			return err
		}
		begin := boottime()
		child, err := d.Spawn(ctx, "made", o)
		if err != nil {
			return err
		}
		if _, err := child.Wait(ctx); err != nil {
			return err
		}
		return c.Send(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), fmt.Sprint(begin, " ", child.Name())))
	}))
}

// made makes one call, and says when it had the answer.
func made(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.At("server"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Invoke(ctx, "Greet", greeting, nil); err != nil {
		return err
	}
	fmt.Println(boottime())
	return nil
}

// plainly does the same without Ward, over descriptor 3.
func plainly(context.Context) error {
	f := os.NewFile(3, "socket")
	if _, err := f.Write(greeting); err != nil {
		return err
	}
	if _, err := f.Read(make([]byte, 256)); err != nil {
		return err
	}
	fmt.Println(boottime())
	return nil
}
