package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// RaiseLocked lets a process lock n bytes of memory, if it may lock less
// (RLIMIT_MEMLOCK, hard and soft). What it starts from then on inherits that. The
// limit is a process's, and a mapping of secret memory counts in the address
// space, not for the user (secretmem_mmap, mm/secretmem.c). It takes
// CAP_SYS_RESOURCE. The error is unix.ESRCH if there is no such process.
//
// The caller makes sure that pid is the process that it means.
func RaiseLocked(pid int, n uint64) error {
	var now unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, nil, &now)
	if err == nil && min(now.Cur, now.Max) < n {
		err = unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: max(now.Cur, n), Max: max(now.Max, n)}, nil)
	}
	if err != nil {
		return fmt.Errorf("limit of locked memory of process %d: prlimit: %w", pid, err)
	}
	return nil
}
