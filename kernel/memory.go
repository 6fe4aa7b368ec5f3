package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"

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

// Memories makes the memory that domains share: memfds whose size nobody can
// change. What each domain gets is an open file of its own, for reading or for
// both; no descriptor for reading becomes one for writing, not by /proc/self/fd
// either: a memfd's owner is a user that nobody is, and nobody else may open it.
//
// A thread of this process has that user as its own where files are made and
// opened (setfsuid(2)), and does nothing else.
type Memories struct{ work chan func() }

// NewMemories starts that thread. owner is a user ID that no process has.
//
// Preconditions: the caller has CAP_SETUID; it may give it up afterwards.
func NewMemories(owner uint32) (*Memories, error) {
	m := &Memories{work: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: no other goroutine runs on this thread, and Go starts no thread from it.
		runtime.LockOSThread()
		err := unix.Setfsuid(int(owner))
		if now, e := unix.SetfsuidRetUid(-1); err == nil && e == nil && uint32(now) != owner {
			err = unix.EPERM
		}
		ready <- err
		if err != nil {
			return // the thread ends
		}
		for f := range m.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("memory for objects: become the user %d where files are made: %w", owner, err)
	}
	return m, nil
}

// Close ends the thread.
func (m *Memories) Close() { close(m.work) }

// do runs f on the thread.
func (m *Memories) do(f func() error) (err error) {
	done := make(chan struct{})
	m.work <- func() {
		err = f()
		close(done)
	}
	<-done
	return err
}

// Make makes memory of size bytes, all zero, that can be neither shortened nor
// extended. The descriptor is for reading and writing. fixed: nor can it be
// sealed in any other way, by nobody; else whoever may write can seal it
// against writing, for good. Pages are charged to the cgroup of whoever touches
// them first.
func (m *Memories) Make(name string, size uint64, fixed bool) (f *os.File, err error) {
	err = m.do(func() error {
		const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
		fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
		if err == unix.EINVAL { // before Linux 6.3
			fd, err = unix.MemfdCreate(name, flags)
		}
		if err != nil {
			return fmt.Errorf("memfd_create: %w", err)
		}
		f = os.NewFile(uintptr(fd), name)
		if err := unix.Fchmod(fd, 0o600); err != nil {
			return fmt.Errorf("fchmod: %w", err)
		}
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return fmt.Errorf("ftruncate to %d bytes: %w", size, err)
		}
		seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
		if fixed {
			seals |= unix.F_SEAL_SEAL
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
			return fmt.Errorf("F_ADD_SEALS: %w", err)
		}
		return nil
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("memory %s: %w", name, err)
	}
	return f, nil
}

// Open opens memory that was made here or by a process before this one again:
// the descriptor shares no offset and no flags with f.
func (m *Memories) Open(f *os.File, write bool) (again *os.File, err error) {
	flags := unix.O_RDONLY
	if write {
		flags = unix.O_RDWR
	}
	err = m.do(func() error {
		fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("memory %s: open it again: %w", f.Name(), err)
		}
		again = os.NewFile(uintptr(fd), f.Name())
		return nil
	})
	return again, err
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
