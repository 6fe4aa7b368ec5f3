package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Errors of memory.
var (
	// ErrMapped: it is mapped by somebody who may write it, or who could make the
	// mapping writable.
	ErrMapped = errors.New("it is mapped where it can be written: unmap it first, everywhere")
	// ErrUnsealable: whoever may write it has sealed it against further seals.
	ErrUnsealable = errors.New("it was sealed against further seals by one that may write it")
)

// Memory of objects is a memfd of which nobody can change the size. It belongs to
// the user that makes it, root, and no other may open it: what each domain gets
// is an open file of its own, for reading or for both, and since no domain is
// root none makes of one for reading one for writing, by /proc/self/fd or fchmod.

// MakeMemory makes memory of size bytes, all zero. The descriptor is for reading
// and writing. fixed: it cannot be sealed in any other way, by nobody; else
// whoever may write can seal it against writing, for good. Pages are charged to
// the cgroup of whoever touches them first.
func MakeMemory(name string, size uint64, fixed bool) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memory %s: memfd_create: %w", name, err)
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if fixed {
		seals |= unix.F_SEAL_SEAL
	}
	what := "fchmod"
	if err = unix.Fchmod(fd, 0o600); err == nil {
		what = fmt.Sprintf("ftruncate to %d bytes", size)
		err = unix.Ftruncate(fd, int64(size))
	}
	if err == nil {
		what = "F_ADD_SEALS"
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memory %s: %s: %w", name, what, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenMemory opens memory again: the descriptor shares no offset and no flags with f.
func OpenMemory(f *os.File, write bool) (*os.File, error) {
	flags := unix.O_RDONLY
	if write {
		flags = unix.O_RDWR
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("memory %s: open it again: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// SealMemory ends all writing to memory, for good: after it nobody writes,
// whatever descriptor he has. It is an error (ErrMapped) if it is mapped where
// it can be written; before Linux 6.7 a mapping for reading counts, too, that
// was made by a descriptor for both. It may take 0.1 s, if the kernel is
// reading from pages for somebody (memfd_wait_for_pins, mm/memfd.c).
func SealMemory(f *os.File) error {
	if sealed, err := MemorySealed(f); sealed || err != nil {
		return err
	}
	switch _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err {
	case nil:
		return nil
	case unix.EBUSY:
		return ErrMapped
	case unix.EPERM:
		return ErrUnsealable
	default:
		return fmt.Errorf("memory %s: F_ADD_SEALS: %w", f.Name(), err)
	}
}

// MemorySealed reports whether nobody can write to memory any more.
func MemorySealed(f *os.File) (bool, error) {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return false, fmt.Errorf("memory %s: F_GET_SEALS: %w", f.Name(), err)
	}
	return seals&unix.F_SEAL_WRITE != 0, nil
}

// MemoryInUse reports whether anybody has memory open or mapped, besides by f
// itself: a descriptor, one in a message that nobody has read, a mapping without
// a descriptor. f is what MakeMemory returned, or a duplicate of that, of which
// the kernel keeps no count, not what OpenMemory did; all others must have got theirs by
// OpenMemory. A descriptor that only names it (O_PATH) does not count.
//
// The kernel grants a lease for writing (fcntl(2), F_SETLEASE) on an open file if
// and only if it is the only one of its file, and a mapping holds the open file
// that it was made by (check_conflicting_open in fs/locks.c, without false answers
// since Linux 5.3). It is given back at once; who could break it is who may open
// the file, root. It is an error where leases are off (fs.leases-enable=0).
func MemoryInUse(f *os.File) (bool, error) {
	only, err := OpenMemory(f, false)
	if err != nil {
		return false, err
	}
	defer only.Close()
	switch _, err := unix.FcntlInt(only.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err {
	case nil:
	case unix.EAGAIN:
		return true, nil
	default:
		return false, fmt.Errorf("memory %s: F_SETLEASE (is fs.leases-enable 1?): %w", f.Name(), err)
	}
	if _, err := unix.FcntlInt(only.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return false, fmt.Errorf("memory %s: F_SETLEASE, to give it back: %w", f.Name(), err)
	}
	return false, nil
}
