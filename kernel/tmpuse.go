package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TmpUse is what the root and /tmp of a domain may hold, which are one file
// system, and what is free of it. pid is a process of the domain; it needs the
// right to look at its root.
func TmpUse(pid int) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root/tmp", pid), &st); err != nil {
		return Space{}, fmt.Errorf("/tmp of process %d: %w", pid, err)
	}
	return spaceOf(&st), nil
}
