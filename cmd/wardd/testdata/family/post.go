package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// postparent has a child that posts to a mailbox, and waits for it.
func init() {
	roles["postparent"] = func(ctx context.Context, d *gate.Domain, _ []string) error {
		_, err := d.Delegate(ctx, "reader", "test.v1.Letters/Put", 1, 0)
		if err == nil || gate.AsError(err).Code != gate.NotFound {
			return fmt.Errorf("the right to post is lent: %v", err)
		}
		c, err := d.Spawn(ctx, "poster", gate.SpawnOptions{Rights: []string{"test.v1.Letters/Put"}})
		if err != nil {
			return err
		}
		status, err := c.Wait(ctx)
		fmt.Println("the child ended with", status)
		return errors.Join(err, wait(ctx))
	}
	roles["postchild"] = func(ctx context.Context, d *gate.Domain, _ []string) error {
		o, err := d.OpenMailbox(ctx, "test.v1.Letters")
		if err != nil {
			return err
		}
		for _, text := range []string{"both", "parent", "child"} {
			err := o.Post(ctx, "Put", protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), text))
			if (err == nil) != (text == "both") {
				return fmt.Errorf("posting %s: %v", text, err)
			}
		}
		if err := d.Receive(ctx, "box", nil); err == nil || !gate.AsError(err).Denied() {
			return fmt.Errorf("a child reads a mailbox: %v", err)
		}
		return nil
	}
}

// wait waits for the end.
func wait(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
