//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func init() { attacks["stand"] = stand }

// taker takes one more of something, or says why it gets no more.
type taker struct {
	take func(i int) error
	give func(n int)
}

var takers = map[string]taker{
	"files": {
		func(int) error {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
			held = append(held, fd)
			return err
		},
		func(n int) {
			for _, fd := range held[:n] {
				unix.Close(fd)
			}
		},
	},
	"tmp":      {func(int) error { return grow("/tmp/all", make([]byte, 4096)) }, func(int) { os.Remove("/tmp/all") }},
	"filesize": {func(int) error { return grow("/tmp/one", make([]byte, 4096)) }, func(int) { os.Remove("/tmp/one") }},
	"tmpfiles": {
		func(i int) error { return grow(fmt.Sprint("/tmp/", i), nil) },
		func(n int) {
			for i := range n {
				os.Remove(fmt.Sprint("/tmp/", i))
			}
		},
	},
}

var held []int

func grow(path string, b []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, b)
	return err
}

// stand WHAT [MOST]: takes until it gets no more, or has that many; says "ready",
// how many and why, and stays. For each packet at descriptor 3 it gives all back, or
// takes again. At its end of file it gives nothing back and ends.
func stand(args []string) (string, error) {
	t, most := takers[args[0]], 1<<30
	if len(args) > 1 {
		most = number(args[1])
	}
	for {
		held = nil
		n, err := 0, error(nil)
		for ; n < most && err == nil; n++ {
			err = t.take(n)
		}
		if err != nil {
			n--
		}
		fmt.Println("ready", n, errorName(err))
		if !told() {
			return fmt.Sprint(n), nil
		}
		t.give(n)
		fmt.Println("ready 0")
		if !told() {
			return "0", nil
		}
	}
}

func errorName(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return "none"
}

// told waits for a packet at descriptor 3; at its end of file there is none.
func told() bool {
	var b [1]byte
	for {
		n, err := unix.Read(3, b[:])
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
