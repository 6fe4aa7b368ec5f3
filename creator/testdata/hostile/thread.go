//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ward/thread"
)

func init() {
	// Not an attack: a domain narrows a thread of its own.
	attacks["thread"] = func(args []string) (string, error) {
		read := func(name string) error { _, err := os.ReadFile(name); return err }
		if err := read(args[1]); err != nil {
			return "", err
		}
		err := thread.Run(context.Background(), thread.Rules{Read: args[:1]}, func(context.Context) error {
			if err := read(args[0]); err != nil {
				return fmt.Errorf("granted: %w", err)
			}
			if err := read(args[1]); !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("not granted: %v", err)
			}
			return nil
		})
		return "", errors.Join(err, read(args[1]))
	}
}
