package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ward/gate"
)

// orderlyStatus is how orderly ends when it has put everything in order.
const orderlyStatus = 3

// orderly has something to put in order before it ends: when it is asked to, it
// says so, and goes on until it is told that it is done, by a signal.
func orderly() error {
	asked, done := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	signal.Notify(done, syscall.SIGUSR1)
	if _, err := gate.Self(); err != nil {
		return err
	}
	fmt.Println("has work")
	<-asked
	fmt.Println("puts things in order")
	<-done
	fmt.Println("in order")
	os.Exit(orderlyStatus)
	return nil
}

// doomed ends with an error as soon as it is told to, by a signal.
func doomed(ctx context.Context) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	if _, err := gate.Self(); err != nil {
		return err
	}
	fmt.Println("may end")
	select {
	case <-told:
		os.Exit(orderlyStatus)
	case <-ctx.Done():
	}
	return nil
}
