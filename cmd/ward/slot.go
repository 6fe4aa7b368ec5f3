package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSlots is the number of systems that can run at a time.
const maxSlots = 4096

// A slot is the number of a running system: it sets its domains' user IDs
// apart from those of other systems. It is held by a lock on a file, which the
// kernel gives back however this process ends; wardd then stops as well.
type slot struct {
	number int
	lock   *os.File
}

// takeSlot takes the lowest free slot.
func takeSlot() (*slot, error) {
	if err := makeRunRoot(); err != nil {
		return nil, failed("%w", err)
	}
	dir := filepath.Join(runRoot, ".slots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, failed("%w", err)
	}
	for n := range maxSlots {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(n)), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, failed("%w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &slot{n, f}, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, failed("lock %s: %w", f.Name(), err)
		}
	}
	return nil, failed("%d systems run already", maxSlots)
}

// release gives the slot back. The file stays: removing it would let two
// processes lock two files of the same name.
func (s *slot) release() { s.lock.Close() }
