package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/holder"
)

// keepImage returns a descriptor of the sealed image that stays open: whoever
// changes the policy asks for what is in force.
func keepImage() (*os.File, error) {
	fd, err := unix.FcntlInt(holder.ImageFD, unix.F_DUPFD_CLOEXEC, holder.ImageFD)
	if err != nil {
		return nil, fmt.Errorf("policy image: %w", err)
	}
	return os.NewFile(uintptr(fd), "policy image"), nil
}
