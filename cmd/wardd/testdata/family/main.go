// Command family is the domains of the test of children and delegations. The
// broker tries what it may and what it may not; what is not as it should be it
// says, and its status is 1.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

const (
	iface = "test.v1.Echo"
	entry = iface + "/Say"
)

// roles are what else it can be than the domains of that test: they get the
// rest of the command line, and SIGTERM ends them.
var roles = map[string]func(ctx context.Context, d *gate.Domain, args []string) error{}

// play does what a role does, and returns the status.
func play(role func(context.Context, *gate.Domain, []string) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	d, err := gate.Self()
	if err == nil {
		err = role(ctx, d, os.Args[2:])
	}
	if err != nil && ctx.Err() == nil {
		fmt.Println(os.Args[1]+":", err)
		return 1
	}
	return 0
}

var failed bool

func check(what string, ok bool, detail ...any) {
	if !ok {
		failed = true
		fmt.Println("family: not as it should be:", what, fmt.Sprint(detail...))
	}
}

// refused checks that something was refused, and why.
func refused(what string, err error, why string) {
	check(what, err != nil && strings.Contains(err.Error(), why), " want ", why, ", got ", err)
}

func main() {
	if role := roles[os.Args[1]]; role != nil {
		os.Exit(play(role))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the test itself waits for less
	defer cancel()
	d, err := gate.Self()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	switch os.Args[1] {
	case "broker":
		broker(ctx, d)
	case "worker":
		os.Exit(worker(ctx, d))
	case "idle":
		signal.Ignore(syscall.SIGTERM)
		if len(os.Args) > 2 { // a parent: its child may outlive it only if it may
			_, err := d.Spawn(ctx, os.Args[2], gate.SpawnOptions{})
			check("a grandchild", err == nil, err)
		}
		<-ctx.Done()
	}
	if failed {
		os.Exit(1)
	}
}

func say(ctx context.Context, c *gate.Client, text string) error {
	_, err := c.Invoke(ctx, "Say", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), text), nil)
	return err
}

func broker(ctx context.Context, d *gate.Domain) {
	revoke := make(chan os.Signal, 1)
	signal.Notify(revoke, syscall.SIGUSR1)
	c, err := d.Open(ctx, iface, gate.Wait())
	check("its own gate", err == nil, err)
	for _, text := range []string{"both", "broker"} {
		err := say(ctx, c, text)
		check("its own right to say "+text, err == nil, err)
	}
	spawn := func(template string, o gate.SpawnOptions) error {
		_, err := d.Spawn(ctx, template, o)
		return err
	}
	rights := gate.SpawnOptions{Rights: []string{entry}}
	refused("a right that the parent lacks", spawn("worker", gate.SpawnOptions{Rights: []string{"test.v1.Other/Do"}}), "no right")
	refused("an entry point that is not there", spawn("worker", gate.SpawnOptions{Rights: []string{"test.v1.Echo/Shout"}}), "no entry point")
	refused("a right that the template lacks", spawn("idle", rights), "no policy lets children of idle")
	refused("more trusted", spawn("trusted", gate.SpawnOptions{}), "more trusted")
	refused("not a template", spawn("server", gate.SpawnOptions{}), "no policy")
	refused("no policy", spawn("forbidden", gate.SpawnOptions{}), "no policy")
	refused("to be adopted", spawn("worker", gate.SpawnOptions{Adopted: true}), "no policy")
	refused("more processes than the template has", spawn("worker", gate.SpawnOptions{Processes: 1000}), "the template has")

	w, err := d.Spawn(ctx, "worker", rights)
	check("a worker", err == nil, err)
	list, err := d.Children(ctx)
	check("the list of children", err == nil && len(list) == 1 && list[0].Name == "worker#1" && list[0].Running, list, err)
	_, err = d.Delegate(ctx, "idler", entry, time.Hour, 0)
	refused("a delegation to nobody, which is answered like one that is not permitted", err, "no policy lets broker lend test.v1.Echo/Say to idler")
	_, err = d.Delegate(ctx, "server", entry, time.Hour, 0)
	refused("a delegation that no policy permits", err, "no policy lets")
	_, err = d.Delegate(ctx, "worker#1", "test.v1.Other/Do", time.Hour, 0)
	refused("a delegation of what it lacks", err, "has no right")
	_, err = d.Delegate(ctx, "worker#1", entry, 100*time.Hour, 0)
	refused("a delegation for too long", err, "at most")
	_, err = d.Delegate(ctx, "worker#1", entry, 8*time.Second, 2)
	check("a delegation for two uses", err == nil, err)
	second, err := d.Delegate(ctx, "worker#1", entry, time.Hour, 0)
	check("a delegation to be revoked", err == nil, err)
	<-revoke // the test has seen a use of it
	check("revoking", second.Revoke(ctx) == nil)
	status, err := w.Wait(ctx)
	check("the worker's report: two uses, and none after the end of either", err == nil && status == 21, status, err)

	// Numbers: two children, three in the tree.
	tree, err := d.Spawn(ctx, "tree", gate.SpawnOptions{})
	check("a child that has a child", err == nil, err)
	for grown := false; !grown && ctx.Err() == nil; {
		list, err := d.Children(ctx)
		check("the list of children", err == nil, err)
		grown = len(list) == 1 && list[0].Children == 1
	}
	other, err := d.Spawn(ctx, "idle", gate.SpawnOptions{})
	check("another child", err == nil, err)
	refused("a third child", spawn("idle", gate.SpawnOptions{}), "which is the limit")
	check("kill", tree.Kill(ctx) == nil)
	status, err = tree.Wait(ctx)
	check("a killed child", err == nil && status == 137, status, err)
	check("kill of who is gone", tree.Kill(ctx) != nil)
	select {
	case <-other.Ended():
		check("who was not killed lives", false)
	default:
	}
	// What is left of the killed tree counts until it has ended, so there is room only after this one.
	check("kill of the other", other.Kill(ctx) == nil)
	_, err = other.Wait(ctx)
	check("the end of the other", err == nil, err)
	short, err := d.Spawn(ctx, "idle", gate.SpawnOptions{Lifetime: time.Second})
	check("a child with a life time", err == nil, err)
	if short == nil {
		return
	}
	status, err = short.Wait(ctx)
	check("the end of its time", err == nil && status == 137, status, err)
}

// worker says what it may and may not; its status is ten times the uses of the
// first delegation, and one if the second could be used until it was revoked.
func worker(ctx context.Context, d *gate.Domain) int {
	c, err := d.Open(ctx, iface, gate.Wait())
	if err != nil {
		fmt.Println("worker:", err)
		return 1
	}
	for _, text := range []string{"both", "broker", "worker"} {
		if err := say(ctx, c, text); (err == nil) != (text == "both") {
			fmt.Println("worker says", text, err)
			return 2
		}
	}
	if _, err := d.Spawn(ctx, "worker", gate.SpawnOptions{}); err == nil {
		return 3
	}
	uses := func(wait bool) int {
		l, err := d.Loan(ctx, entry)
		if err != nil {
			return 0
		}
		g, err := l.Open(ctx, "server")
		if err != nil {
			fmt.Println("worker:", err)
			return 0
		}
		n := 0
		for n < 1000000 && say(ctx, g, "broker") == nil {
			n++
		}
		if wait {
			<-l.Ended()
			if _, err := l.Open(ctx, "server"); err == nil {
				return 0
			}
		}
		return n
	}
	// Which of the two comes first is open: the one with two uses is over after them.
	a, b := uses(true), uses(true)
	if a > b {
		a, b = b, a
	}
	status := 10 * a
	if b > 0 {
		status++
	}
	return status
}
