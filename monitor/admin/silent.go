package admin

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrSilent: there is a monitor, and it does not answer in time.
var ErrSilent = errors.New("the monitor does not answer: it is busy, coming back, or stopped. Gates that are open go on and are checked; nothing new is granted. " +
	"Ask again; 'ward audit' tells whether it has come back, and 'ward down --force' ends the system without it")

// errUnknown: a change was asked for, and nobody said what came of it.
var errUnknown = errors.New("whether the change is in force is not known: see 'ward audit'")

// silence says in words what an error at the monitor's socket means.
func silence(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%s: %w", path, ErrSilent)
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("%s: %w", path, errBusy)
	}
	return fmt.Errorf("%s: %w", path, err)
}
