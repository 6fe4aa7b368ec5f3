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

// A change was asked for, and the monitor died before it said what came of it; what the
// next one says.
var (
	errUnknown = errors.New("whether the change is in force is not known: see 'ward audit'")
	errMade    = errors.New("the change is in force all the same: 'ward audit' tells what it closed, and whether all its domains started")
	errNotMade = errors.New("the change was not made, or taken back, and the policy before it is in force: 'ward audit' tells why; ask again")
)

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
