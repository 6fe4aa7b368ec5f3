//go:build linux

// Hostile is a domain that does what it is told, over an exported interface,
// to break out of what it may. It speaks the wire by hand: the library would
// keep it from most of this.
//
// Usage: hostile                 as a domain
//
//	hostile once ORDER…     outside, as a control: one order, and its outcome
//
// An outcome begins with "done" if the order took effect, with "refused" if not.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// orders are what it can be told to do.
var orders = map[string]func(args []string) (string, error){}

func obey(order string) string {
	args := strings.Fields(order)
	if len(args) == 0 || orders[args[0]] == nil {
		return "refused: no such order: " + order
	}
	got, err := orders[args[0]](args[1:])
	if err != nil {
		return "refused: " + err.Error()
	}
	return strings.TrimSpace("done " + got)
}

func main() {
	runtime.LockOSThread() // ptrace and capabilities are of a thread
	if len(os.Args) > 2 && os.Args[1] == "once" {
		fmt.Println(obey(strings.Join(os.Args[2:], " ")))
		return
	}
	if err := serve(); err != nil {
		fmt.Println("hostile:", err)
		os.Exit(1)
	}
}
