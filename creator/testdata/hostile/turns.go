//go:build linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func init() {
	// turns uses as much CPU time as it gets, and prints a line for each 20 ms of
	// it, until it has had so many.
	attacks["turns"] = func(args []string) (string, error) {
		const turn = 20e6 // ns
		fmt.Println("ready")
		for n := int64(1); n <= int64(number(args[0])); n++ {
			for used := int64(0); used < n*turn; {
				for i := range 10_000 { // else most of it would be the kernel's
					used += int64(i & 1)
				}
				var u unix.Rusage
				if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
					return "", err
				}
				used = u.Utime.Nano() + u.Stime.Nano()
			}
			fmt.Println("turn")
		}
		return args[0], nil
	}
}
