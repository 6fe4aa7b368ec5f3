//go:build linux

package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// hidden is memory that is mapped and not open.
var hidden [][]byte

func init() {
	// makesecret OBJECT SIZE
	orders["makesecret"] = func(args []string) (string, error) {
		return object(abi.Control{Op: abi.OpMake, Name: args[0], Size: uint64(number(args[1])), Access: abi.AccessSecret})
	}
	// makesecrets COUNT OBJECT: maps each, and closes it, until one is refused. "done COUNT WHY".
	orders["makesecrets"] = func(args []string) (string, error) {
		for n := range number(args[0]) {
			got, err := orders["makesecret"]([]string{args[1], "0"})
			if err == nil {
				_, err = orders["hide"]([]string{strings.Fields(got)[1], "one"})
			}
			if err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
		return args[0], nil
	}
	// hide DESCRIPTOR TEXT: maps it, writes, and closes it. "done NUMBER".
	orders["hide"] = func(args []string) (string, error) {
		fd := number(args[0])
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return "", err
		}
		b, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return "", err
		}
		unix.Close(fd)
		copy(b, args[1])
		hidden = append(hidden, b)
		return fmt.Sprint(len(hidden) - 1), nil
	}
	// hidden NUMBER: text up to a zero.
	orders["hidden"] = func(args []string) (string, error) {
		s, _, _ := strings.Cut(string(hidden[number(args[0])]), "\x00")
		return s, nil
	}
	orders["unhide"] = func([]string) (string, error) {
		for _, b := range hidden {
			unix.Munmap(b)
		}
		hidden = nil
		return "", nil
	}
	// fill_memory NUMBER: touches each page.
	orders["fill_memory"] = func(args []string) (string, error) {
		b := hidden[number(args[0])]
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return "", nil
	}
	// secretfile: makes secret memory without asking anybody.
	orders["secretfile"] = func([]string) (string, error) {
		fd, err := unix.MemfdSecret(0)
		return fmt.Sprint(fd), err
	}
}
