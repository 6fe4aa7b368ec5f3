package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a run directory may be locked by somebody who clears up
// after an earlier system of its name (`ward up`, `ward down --force`).
const lockWait = time.Second

// lockFile is the file in the run directory that is locked. Only its owner may
// open it: anybody may lock a directory that he may read, and keep a system from starting.
const lockFile = "lock"

// lockDir makes the run directory and locks it: one system at a time. The lock
// is what says that the system lives: nobody removes anything from the directory
// meanwhile. Who cleared up may have removed the one that was there, so that what
// is locked must still be what has the name.
func lockDir(path string) (*os.File, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(lockWait); ; <-tick.C {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
		lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if os.IsNotExist(err) && time.Now().Before(end) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(lock, lock.Name()) {
			return lock, nil
		}
		lock.Close()
		if err != nil && time.Now().After(end) {
			return nil, fmt.Errorf("a system with this name is running already (%s is locked): stop it with `ward down`, or give this one another name", lock.Name())
		}
	}
}

// isAt reports whether file still has the name path.
func isAt(file *os.File, path string) bool {
	have, err := file.Stat()
	if err != nil {
		return false
	}
	is, err := os.Lstat(path)
	return err == nil && os.SameFile(have, is)
}
