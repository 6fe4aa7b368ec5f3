package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TmpUse is how many bytes the root and /tmp of a domain take, which are one file
// system. pid is a process of the domain; it needs the right to look at its root.
func TmpUse(pid int) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root/tmp", pid), &st); err != nil {
		return 0, fmt.Errorf("/tmp of process %d: %w", pid, err)
	}
	return (st.Blocks - st.Bfree) * uint64(st.Bsize), nil
}
