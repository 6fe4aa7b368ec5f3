// Command probe is each domain of the test system, and its client outside.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
)

const iface = "test.v1.Echo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Args[1] {
	case "server":
		err = serve(ctx)
	case "late":
		err = late(ctx)
	case "orderly":
		err = orderly()
	case "doomed":
		err = doomed(ctx)
	case "client":
		pace := 10 * time.Millisecond
		if len(os.Args) > 2 {
			pace, err = time.ParseDuration(os.Args[2])
		}
		if err == nil {
			err = client(ctx, pace)
		}
	case "peer", "caller":
		err = peer(ctx, os.Args[2], os.Args[3], os.Args[1] == "peer")
	case "idle":
		_, err = gate.Self()
		<-ctx.Done()
	case "greet":
		err = greet(ctx)
	case "once":
		_, err = gate.Self()
		if len(os.Args) > 2 {
			err = errors.New(os.Args[2])
		}
	case "malformed":
		err = malformed()
	case "count":
		err = count(ctx)
	case "alternate":
		err = alternate(ctx, os.Args[2])
	case "load":
		err = load(ctx)
	case "parent":
		err = parent(ctx, os.Args[2:])
	case "mail":
		err = mail(ctx)
	case "memory":
		err = memory(ctx)
	case "wait":
		err = wait(ctx)
	case "hang":
		err = hang(ctx)
	case "who":
		err = who(ctx)
	case "ask":
		err = ask(ctx, strings.Join(os.Args[2:], ""))
	case "dial":
		err = dial(ctx, os.Args[2], os.Args[3])
	case "stay":
		err = stay(ctx, os.Args[2])
	case "hold":
		err = hold(ctx, os.Args[2])
	}
	if err != nil {
		fmt.Println("probe:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	fmt.Println("serving")
	return d.Serve(ctx, iface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
		b, err := call.Recv()
		if err != nil {
			return err
		}
		return call.Send(b)
	}))
}

// late serves when it is told to, by a signal.
func late(ctx context.Context) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	fmt.Println("may be told")
	select {
	case <-told:
		return serve(ctx)
	case <-ctx.Done():
		return nil
	}
}

func say(ctx context.Context, c *gate.Client, text string) error {
	_, err := c.Invoke(ctx, "Say", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), text), nil)
	return err
}

// client calls all the time, once in a pace: what is allowed, what is not, and,
// now and then, for a new gate. What it finds out it says in a call, so that the
// audit log shows it.
func client(ctx context.Context, pace time.Duration) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.Wait())
	if err != nil {
		return err
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := say(ctx, c, "hello"); err != nil && ctx.Err() == nil {
			return err
		}
		var denied *gate.Error
		if err := say(ctx, c, "secret"); ctx.Err() == nil && (!errors.As(err, &denied) || !denied.Denied()) {
			return fmt.Errorf("the secret got through: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		another, err := d.Open(short, iface, gate.At("server"))
		cancel()
		if err == nil {
			another.Close()
		} else if ctx.Err() == nil {
			fmt.Println("no gate:", err)
			if err := say(ctx, c, "no gate"); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// greet calls once and keeps its gate.
func greet(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.Wait())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := say(ctx, c, "greeting"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// malformed sends the monitor what is no message.
func malformed() error {
	if _, err := syscall.Write(abi.ControlFD, []byte("give me everything")); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.NewFile(abi.ControlFD, "control"))
	fmt.Println("still alive", err)
	select {} // only a kill ends it
}

func dial(ctx context.Context, path, text string) error {
	c, err := gate.DialSocket(ctx, path)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := say(ctx, c, text); err != nil {
		return err
	}
	fmt.Println("said", text)
	return nil
}

// stay makes a call that the server answers when the gate ends, says how it
// failed, and how the next attempt to connect does.
func stay(ctx context.Context, path string) error {
	c, err := gate.DialSocket(ctx, path)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("pending:", say(ctx, c, "wait"))
	fmt.Println("next:", say(ctx, c, "wait"))
	_, err = gate.DialSocket(ctx, path)
	fmt.Println("open:", err)
	return nil
}

// hold opens gates until one is refused, says how many it got, and holds them
// until its standard input ends.
func hold(ctx context.Context, path string) error {
	var held []*gate.Client
	for {
		c, err := gate.DialSocket(ctx, path)
		if err != nil {
			fmt.Println("held", len(held), err)
			io.Copy(io.Discard, os.Stdin)
			return nil
		}
		held = append(held, c)
	}
}
