//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// held are the descriptors that "take files" has left open.
var held []int

func init() {
	// take WHAT: files, tmp, tmpfiles or filesize, until there is no more, and keeps
	// it. "done COUNT WHY".
	orders["take"] = func(args []string) (string, error) {
		one, ok := map[string]func(i int) error{
			"files": func(int) error {
				fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err == nil {
					held = append(held, fd)
				}
				return err
			},
			"tmp":      func(int) error { return grow("/tmp/took", make([]byte, 4096)) },
			"filesize": func(int) error { return grow("/tmp/took", make([]byte, 4096)) },
			"tmpfiles": func(i int) error { return grow(fmt.Sprint("/tmp/took", i), nil) },
		}[args[0]]
		if !ok {
			return "", errors.New("of what?")
		}
		n := 0
		for {
			err := one(n)
			if err != nil {
				return fmt.Sprint(n, " ", errnoName(err)), nil
			}
			n++
		}
	}
	// giveback WHAT: what "take" has taken.
	orders["giveback"] = func(args []string) (string, error) {
		for _, fd := range held {
			unix.Close(fd)
		}
		held = nil
		took, err := filepath.Glob("/tmp/took*")
		for _, path := range took {
			err = errors.Join(err, os.Remove(path))
		}
		return "", err
	}
}

func grow(path string, b []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, b)
	return err
}

func errnoName(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}
