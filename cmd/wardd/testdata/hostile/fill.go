//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ward/abi"
)

func init() {
	// fill END METHOD GENERATION [HEX]: the same call in every slot of a gate.
	// "done ADMITTED".
	orders["fill"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		var body []byte
		if len(args) > 3 {
			if body, err = hex.DecodeString(args[3]); err != nil {
				return "", err
			}
		}
		admitted := 0
		for slot := range uint16(abi.Slots) {
			h := abi.Header{Kind: abi.KindCall, Method: uint32(number(args[1])), Slot: slot, Gen: uint16(number(args[2]))}
			if err := unix.Send(e.fd, packet(h, body), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
				return "", err
			}
			if v := abi.VerdictWord(e.block.Load(abi.PageSlots + int(slot))); v.Gen() == h.Gen && v.Reason().Allowed() {
				admitted++
			}
		}
		return fmt.Sprint(admitted), nil
	}
	// obtain END: one packet, for which it waits.
	orders["obtain"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}, -1)
		}
		if err != nil {
			return "", err
		}
		return orders["receive"](args)
	}
	// cycle COUNT INTERFACE SERVER: opens gates and closes each at once, until one
	// is refused. "done COUNT WHY".
	orders["cycle"] = func(args []string) (string, error) {
		for n := range number(args[0]) {
			a, err := ask(abi.Control{Op: abi.OpOpen, Interface: args[1], Name: args[2]})
			if err := granted(a, err); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
			for _, fd := range a.fds {
				unix.Close(fd)
			}
		}
		return fmt.Sprint(number(args[0]), " not refused"), nil
	}
	// letgo: closes all ends that it has been given by clients.
	orders["letgo"] = func([]string) (string, error) {
		domain.mu.Lock()
		defer domain.mu.Unlock()
		if len(domain.ends) == 0 {
			return "", errors.New("there is none")
		}
		for _, e := range domain.ends {
			unix.Close(e.fd)
		}
		domain.ends = nil
		return "", nil
	}
}
