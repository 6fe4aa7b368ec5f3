package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/gate"
)

// writes are ways to change memory through a descriptor that may read. Each
// returns why it failed.
var writes = map[string]func(m *gate.Memory) error{
	"a write": func(m *gate.Memory) error {
		_, err := m.File().WriteAt([]byte("graffiti"), 0)
		return err
	},
	"a mapping to be written": func(m *gate.Memory) error {
		b, err := unix.Mmap(int(m.File().Fd()), 0, m.Size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(b, "graffiti")
		return unix.Munmap(b)
	},
	"a mapping that is made writable": func(m *gate.Memory) error {
		b, err := unix.Mmap(int(m.File().Fd()), 0, m.Size(), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer unix.Munmap(b)
		if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return err
		}
		copy(b, "graffiti")
		return nil
	},
	"a shorter size": func(m *gate.Memory) error { return m.File().Truncate(0) },
	"a hole": func(m *gate.Memory) error {
		return unix.Fallocate(int(m.File().Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	},
	"pages removed": func(m *gate.Memory) error {
		b, err := m.Bytes()
		if err != nil {
			return err
		}
		return unix.Madvise(b[:min(len(b), 4096)], unix.MADV_REMOVE)
	},
	"a seal of its own": func(m *gate.Memory) error {
		_, err := unix.FcntlInt(m.File().Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE)
		return err
	},
	"opened once more": func(m *gate.Memory) error {
		f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", m.File().Fd()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("graffiti"), 0)
		return err
	},
	"another mode": func(m *gate.Memory) error { return m.File().Chmod(0o777) },
}
