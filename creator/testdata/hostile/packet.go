//go:build linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func init() { attacks["listenstay"] = listenStay }

// listenStay is listens, and stays.
func listenStay(specs []string) (string, error) {
	ports, err := listens(specs)
	if err != nil {
		return "", err
	}
	fmt.Println(ports)
	for {
		if _, err := unix.Ppoll(nil, nil, nil); err != nil && err != unix.EINTR {
			return "", err
		}
	}
}
