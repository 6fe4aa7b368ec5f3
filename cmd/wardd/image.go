package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/holder/link"
)

// keepImage returns a descriptor of the sealed image that stays open: whoever
// changes the policy asks for what is in force.
func keepImage() (*os.File, error) {
	fd, err := unix.FcntlInt(link.ImageFD, unix.F_DUPFD_CLOEXEC, link.ImageFD)
	if err != nil {
		return nil, fmt.Errorf("policy image: %w", err)
	}
	return os.NewFile(uintptr(fd), "policy image"), nil
}
