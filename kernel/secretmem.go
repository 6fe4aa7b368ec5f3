package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoSecretMemory says that the kernel has none.
var ErrNoSecretMemory = errors.New("this kernel has no secret memory (memfd_secret): before Linux 6.5 it takes the boot parameter secretmem.enable=1, and a kernel that was built with CONFIG_SECRETMEM")

// Secret memory is a file of its own kind (memfd_secret(2), mm/secretmem.c). Its
// pages are in no map but those of processes that map it: not in the kernel's
// own, so that no other process is given them by the kernel (process_vm_readv,
// /proc/PID/mem, ptrace, a dump, a disk: all fail with EFAULT or EIO), and they
// are never swapped. They count as locked memory of who maps them, are charged
// to the cgroup of who touches them first, and are filled with zeros when the
// last one lets them go. What a file otherwise has it has not: it can neither be
// read nor written nor opened anew, has no seals, and its size is set once
// (TestSecretMemory).

// SecretMemory reports whether there is secret memory: nil, or ErrNoSecretMemory,
// or why that cannot be known.
func SecretMemory() error {
	fd, err := secretFile()
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func secretFile() (int, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err == unix.ENOSYS {
		return -1, ErrNoSecretMemory
	}
	return fd, os.NewSyscallError("memfd_secret", err)
}

// MakeSecretMemory makes secret memory of size bytes, all zero. Whoever has the
// descriptor can map it, until it is closed: it goes to one process, and is kept
// nowhere else. Nobody changes its size.
func MakeSecretMemory(size uint64) (*os.File, error) {
	fd, err := secretFile()
	if err != nil {
		return nil, fmt.Errorf("secret memory: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("secret memory: ftruncate to %d bytes: %w", size, err)
	}
	return os.NewFile(uintptr(fd), "secret memory"), nil
}
