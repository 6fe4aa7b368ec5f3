package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// forked is how this program starts itself again.
const forked = "forked"

// again starts this program once more.
func again(what string) (*exec.Cmd, error) {
	cmd := exec.Command(os.Args[0], forked, what)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, cmd.Start()
}

// escape is what the processes do that are started so: the first one starts
// another, and ends, so that this one is nobody's child any more.
func escape(what string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch what {
	case "begin": // outside Ward
		if err := fork(ctx); err != nil {
			fmt.Println(err)
		}
	case "first":
		if _, err := syscall.Setsid(); err != nil {
			fmt.Println("no session:", err)
		}
		if _, err := again("second"); err != nil {
			fmt.Println("no second:", err)
			os.Exit(1)
		}
		os.Exit(0)
	case "second":
		fmt.Println("escaped", os.Getpid())
	}
	<-ctx.Done()
	os.Exit(0)
}

// fork forks twice: the process that is left has another session, and none of
// the first one's descendants is its parent.
func fork(ctx context.Context) error {
	cmd, err := again("first")
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// bombs is how many processes bomb tries to have.
const bombs = 12 // each has threads

// bomb starts processes until it gets no more, or has so many.
func bomb(ctx context.Context) error {
	n := 0
	for n < bombs {
		if _, err := again("third"); err != nil {
			break
		}
		n++
	}
	fmt.Printf("has %d of %d.\n", n, bombs)
	<-ctx.Done()
	return nil
}
