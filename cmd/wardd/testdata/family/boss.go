package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// A boss makes children as the test tells it, over an exported interface. What
// it is made of itself, a child of it, does what any child here does: it says
// what it may call.

const (
	orders = "test.v1.Orders"
	kin    = "test.v1.Kin"
)

type parent struct {
	d        *gate.Domain
	mu       sync.Mutex
	children map[string]*gate.Child
}

func boss(ctx context.Context, d *gate.Domain) error {
	if strings.Contains(d.Name(), "#") {
		return tell(ctx, d)
	}
	p := &parent{d: d, children: map[string]*gate.Child{}}
	return d.Serve(ctx, orders, gate.HandlerFunc(func(ctx context.Context, c *gate.ServerCall) error {
		b, err := c.Recv()
		if err != nil {
			return err
		}
		_, _, n := protowire.ConsumeTag(b)
		order, _ := protowire.ConsumeString(b[max(n, 0):])
		got, err := p.obey(ctx, strings.Fields(order))
		if err != nil {
			got = "refused: " + err.Error()
		} else {
			got = strings.TrimSpace("done " + got)
		}
		return c.Send(word(got))
	}))
}

func word(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}

// obey does one of
//
//	spawn TEMPLATE|self [OPTION…]   adopted, life=DURATION, processes=N, memory=N, ring=NAME, or entry points
//	kill NAME
//	wait NAME                       its status, as soon as the notice of its end is there
//	lend NAME                       One, for an hour
//	list                            the children, and how many descendants each has
func (p *parent) obey(ctx context.Context, order []string) (string, error) {
	switch {
	case len(order) > 1 && order[0] == "spawn":
		return p.spawn(ctx, order[1], order[2:])
	case len(order) == 1 && order[0] == "list":
		list, err := p.d.Children(ctx)
		var names []string
		for _, c := range list {
			names = append(names, fmt.Sprintf("%s+%d", c.Name, c.Children))
		}
		slices.Sort(names)
		return strings.Join(names, " "), err
	case len(order) != 2:
		return "", errors.New("no such order")
	}
	if order[0] == "lend" {
		_, err := p.d.Delegate(ctx, order[1], kin+"/One", time.Hour, 0)
		return "", err
	}
	p.mu.Lock()
	c := p.children[order[1]]
	p.mu.Unlock()
	if c == nil {
		return "", errors.New("no such child")
	}
	switch order[0] {
	case "kill":
		return "", c.Kill(ctx)
	case "wait":
		select {
		case <-c.Ended():
		case <-ctx.Done():
			return "", ctx.Err()
		}
		status, err := c.Wait(ctx)
		return strconv.Itoa(status), err
	}
	return "", errors.New("no such order")
}

func (p *parent) spawn(ctx context.Context, template string, options []string) (string, error) {
	if template == "self" {
		template = ""
	}
	var o gate.SpawnOptions
	for _, opt := range options {
		key, value, _ := strings.Cut(opt, "=")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch key {
		case "adopted":
			o.Adopted = true
		case "life":
			o.Lifetime, _ = time.ParseDuration(value)
		case "processes":
			o.Processes = uint32(n)
		case "memory":
			o.Memory = n
		case "ring":
			o.Ring = value
		default:
			o.Rights = append(o.Rights, opt)
		}
	}
	c, err := p.d.Spawn(ctx, template, o)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.children[c.Name()] = c
	return c.Name(), nil
}

// kinServer answers what children call.
func kinServer(ctx context.Context, d *gate.Domain) error {
	return d.Serve(ctx, kin, gate.HandlerFunc(func(_ context.Context, c *gate.ServerCall) error {
		b, err := c.Recv()
		if err != nil {
			return err
		}
		return c.Send(b)
	}))
}

// tell says what it may call, and stays.
func tell(ctx context.Context, d *gate.Domain) error {
	said := "may call:"
	if c, err := d.Open(ctx, kin, gate.At("server")); err == nil {
		for _, m := range []string{"One", "Two"} {
			if _, err := c.Invoke(ctx, m, word("hello"), nil); err == nil {
				said += " " + m
			} else if !gate.AsError(err).Denied() {
				return err
			}
		}
	} else if !gate.AsError(err).Denied() {
		return err
	}
	fmt.Println(said + ".")
	<-ctx.Done()
	return nil
}

// stay calls what it may and what it may not, until it is ended.
func stay(ctx context.Context, d *gate.Domain) error {
	c, err := d.Open(ctx, kin, gate.At("server"))
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, m := range []string{"One", "Two"} {
			if _, err := c.Invoke(ctx, m, word("still here"), nil); err != nil && !gate.AsError(err).Denied() {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// nest makes a child of the next template, with options as of an order, and says
// how that went. Among them, lend: it may call One in this domain's name, too.
func nest(ctx context.Context, d *gate.Domain, template string, options []string) error {
	p := &parent{d: d, children: map[string]*gate.Child{}}
	lend := slices.Contains(options, "lend")
	name, err := p.spawn(ctx, template, slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "lend" }))
	if err == nil && lend {
		_, err = d.Delegate(ctx, name, kin+"/One", time.Hour, 3)
	}
	if err != nil {
		fmt.Println("no child:", err)
	} else {
		fmt.Println("has a child.")
	}
	<-ctx.Done()
	return nil
}

// each makes children, each of a template with options as of an order, with commas
// between, and says how that went.
func each(ctx context.Context, d *gate.Domain, children []string) error {
	p := &parent{d: d, children: map[string]*gate.Child{}}
	for _, c := range children {
		options := strings.Split(c, ",")
		name, err := p.spawn(ctx, options[0], options[1:])
		if err != nil {
			name = err.Error()
		}
		fmt.Println(c+":", name)
	}
	fmt.Println("these are all.")
	<-ctx.Done()
	return nil
}

func init() {
	roles["boss"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return boss(ctx, d) }
	roles["kin"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return kinServer(ctx, d) }
	roles["tell"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return tell(ctx, d) }
	roles["stay"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return stay(ctx, d) }
	roles["rest"] = func(ctx context.Context, _ *gate.Domain, _ []string) error { <-ctx.Done(); return nil }
	roles["nest"] = func(ctx context.Context, d *gate.Domain, args []string) error { return nest(ctx, d, args[0], args[1:]) }
	roles["each"] = func(ctx context.Context, d *gate.Domain, args []string) error { return each(ctx, d, args) }
	roles["fork"] = func(ctx context.Context, _ *gate.Domain, _ []string) error { return fork(ctx) }
	roles["bomb"] = func(ctx context.Context, _ *gate.Domain, _ []string) error { return bomb(ctx) }
	if len(os.Args) > 2 && os.Args[1] == forked {
		escape(os.Args[2])
	}
}
