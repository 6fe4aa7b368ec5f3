//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func init() {
	// eat takes so many bytes of memory and touches them all.
	attacks["eat"] = func(args []string) (string, error) {
		const piece = 1 << 20
		n := 0
		for ; n < number(args[0]); n += piece {
			b, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return "", fmt.Errorf("after %d bytes: %w", n, err)
			}
			for i := 0; i < piece; i += 4096 {
				b[i] = 1
			}
		}
		return fmt.Sprint(n), nil
	}
	// stuff fills pipes: memory that the kernel holds for the domain.
	attacks["stuff"] = func(args []string) (string, error) {
		b := make([]byte, 64<<10) // what a pipe takes
		n := 0
		for ; n < number(args[0]); n += len(b) {
			var fds [2]int
			err := unix.Pipe2(fds[:], 0)
			if err == nil {
				_, err = unix.Write(fds[1], b)
			}
			if err != nil {
				return "", fmt.Errorf("after %d bytes: %w", n, err)
			}
		}
		return fmt.Sprint(n), nil
	}
	// bigfile writes one file of so many bytes.
	attacks["bigfile"] = func(args []string) (string, error) {
		signal.Ignore(unix.SIGXFSZ)
		f, err := os.Create(args[0])
		if err != nil {
			return "", err
		}
		defer os.Remove(args[0])
		defer f.Close()
		b := make([]byte, 4096)
		n := 0
		for ; n < number(args[1]); n += len(b) {
			if _, err := f.Write(b); err != nil {
				return "", fmt.Errorf("after %d bytes: %w", n, err)
			}
		}
		return fmt.Sprint(n), nil
	}
	// spin does nothing, quickly, until it is killed.
	attacks["spin"] = func([]string) (string, error) {
		fmt.Println("ready")
		for {
		}
	}
}
