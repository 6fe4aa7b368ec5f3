package upbench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// argument is what a domain's command line begins with.
const argument = "upbench-domain"

const iface = "bench.up.v1.Greeter"

// Domain returns, unless this process is a domain of the measured system: then
// it is the domain, and exits. A program that calls Run calls it first.
func Domain() {
	if len(os.Args) < 3 || os.Args[1] != argument {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	run := call
	switch what := os.Args[2]; what {
	case "server":
		run = serve
	case "maker":
		run = maker
	case "made":
		run = made
	case "source":
		run = source
	case "sink":
		run = sink
	case "plain":
		run = plainly
	case "spin":
		spin()
	case "eat":
		eat()
	case "open":
		openAll()
	case "bomb":
		run = func(ctx context.Context) error { children(ctx, os.Args[3], atOnce[os.Args[3]]); return nil }
	case "noisy", "bystander":
		s, err := parseSchedule(os.Args[3:])
		run = func(ctx context.Context) error {
			switch {
			case err != nil:
				return err
			case what == "noisy":
				return noisy(ctx, s)
			}
			return bystander(ctx, s)
		}
	}
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "upbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	return d.Serve(ctx, iface, gate.HandlerFunc(func(_ context.Context, c *gate.ServerCall) error {
		request, err := c.Recv()
		if err != nil {
			return err
		}
		return c.Send(request)
	}))
}

// call makes one call and keeps the gate.
func call(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.Wait())
	if err != nil {
		return err
	}
	defer c.Close()
	request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "good morning")
	if _, err := c.Invoke(ctx, "Greet", request, nil); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
