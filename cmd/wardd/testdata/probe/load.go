package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
)

// count serves calls, each answered by how many it has seen.
func count(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	var seen atomic.Int64
	return d.Serve(ctx, iface, gate.HandlerFunc(func(_ context.Context, call *gate.ServerCall) error {
		b, err := call.Recv()
		if err != nil {
			return err
		}
		if string(b) != string(text("stop")) {
			seen.Add(1)
		}
		return call.Send(text(strconv.FormatInt(seen.Load(), 10)))
	}))
}

func text(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}

// load calls without end, with what one policy permits, what the other does,
// and what none does, until a policy permits "stop". What it has seen it says
// at its end: every call has one answer.
func load(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.At("server"))
	if err != nil {
		return err
	}
	var sent, admitted, denied, unpoliced, odd atomic.Int64
	var stop atomic.Bool
	call := func(s string) (bool, []byte) {
		reply, err := c.Invoke(ctx, "Say", text(s), nil)
		var e *gate.Error
		switch {
		case err == nil:
			return true, reply
		case errors.As(err, &e) && e.Code == gate.PermissionDenied && e.Reason == abi.ReasonDefault:
		default:
			odd.Add(1)
			fmt.Println("odd:", err)
		}
		return false, nil
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() && odd.Load() == 0 {
				for _, s := range []string{"a", "b", "neither"} {
					sent.Add(1)
					ok, _ := call(s)
					switch {
					case ok && s == "neither":
						unpoliced.Add(1)
					case ok:
						admitted.Add(1)
					default:
						denied.Add(1)
					}
				}
				if ok, _ := call("stop"); ok {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	_, reply := call("stop")
	seen := "?"
	if _, _, n := protowire.ConsumeTag(reply); n > 0 {
		seen, _ = protowire.ConsumeString(reply[n:])
	}
	fmt.Printf("sent %d admitted %d denied %d unpoliced %d odd %d served %s\n",
		sent.Load(), admitted.Load(), denied.Load(), unpoliced.Load(), odd.Load(), seen)
	return nil
}

// wait opens a gate and makes a call that the server answers when the gate
// ends; it says how the call failed, and how the next attempt to open one does.
func wait(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.At("server"))
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	_, err = c.Invoke(ctx, "Say", text("wait"), nil)
	fmt.Println("pending:", err)
	_, err = c.Invoke(ctx, "Say", text("wait"), nil)
	fmt.Println("next:", err)
	_, err = d.Open(ctx, iface, gate.At("server"))
	fmt.Println("open:", err)
	<-ctx.Done()
	return nil
}

// hang serves calls that last until their gates end.
func hang(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	return d.Serve(ctx, iface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
		fmt.Println("called")
		<-ctx.Done()
		fmt.Println("cancelled:", ctx.Err())
		fmt.Println("because:", gate.Cause(ctx))
		return ctx.Err()
	}))
}
