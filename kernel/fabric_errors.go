package kernel

import (
	"errors"
	"fmt"
)

// ErrUnsupported is what errors.Is finds in an *UnsupportedError.
var ErrUnsupported = errors.New("not supported by this kernel")

// An UnsupportedError says that the running kernel lacks a mechanism.
type UnsupportedError struct {
	Mechanism string
	Minimum   string // first Linux version that has it, such as "5.8"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: not supported by this kernel; it needs Linux %s or later", e.Mechanism, e.Minimum)
}

func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }
