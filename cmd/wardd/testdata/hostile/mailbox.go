//go:build linux

package main

import (
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"

	"ward/abi"
)

func init() {
	// mailbox INTERFACE [NAME]: a gate to post by. "done NUMBER".
	orders["mailbox"] = func(args []string) (string, error) {
		c := abi.Control{Op: abi.OpOpen, Interface: args[0], Access: abi.AccessPost}
		if len(args) > 1 {
			c.Name = args[1]
		}
		a, err := ask(c)
		if err := granted(a, err); err != nil {
			return "", err
		}
		e, err := newEnd(&a)
		if err != nil {
			return "", err
		}
		domain.mu.Lock()
		defer domain.mu.Unlock()
		domain.ends = append(domain.ends, e)
		domain.more.Broadcast()
		return fmt.Sprint(len(domain.ends) - 1), nil
	}
	// mailboxes INTERFACE: gates until one is refused. "done COUNT WHY".
	orders["mailboxes"] = func(args []string) (string, error) {
		for n := 0; ; n++ {
			if _, err := orders["mailbox"](args); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
	}
	// readbox NAME: the reading ends of a mailbox come as other ends do.
	orders["readbox"] = func(args []string) (string, error) {
		return "", granted(ask(abi.Control{Op: abi.OpReceive, Name: args[0]}))
	}
	// shout END HEX: a packet, whatever the kernel thinks of it.
	orders["shout"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		b, err := hex.DecodeString(args[1])
		if err != nil {
			return "", err
		}
		return "", unix.Send(e.fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	// shut END: for everybody who has the socket.
	orders["shut"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.Shutdown(e.fd, unix.SHUT_RDWR)
	}
	// leave END: close it.
	orders["leave"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.Close(e.fd)
	}
}
