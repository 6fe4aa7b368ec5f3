package kernel

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Interpreter returns the dynamic linker that a program asks for (PT_INTERP),
// "" for one that needs none, and for what is no ELF file.
func Interpreter(program string) (string, error) {
	// Not a FIFO or a device: opening must not wait.
	src, err := os.OpenFile(program, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer src.Close()
	f, err := elf.NewFile(src)
	if err != nil {
		return "", nil
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz > 1 && p.Filesz <= unix.PathMax {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return "", fmt.Errorf("%s: %w", program, err)
			}
			return strings.TrimRight(string(b), "\x00"), nil
		}
	}
	return "", nil
}

// Dynamic is the error of a dynamically linked program in a root without its linker.
func Dynamic(program, linker string) error {
	return fmt.Errorf("%s is dynamically linked (it needs %s): set `root: host`, or build it with CGO_ENABLED=0", program, linker)
}

// explain says why a program that exists could not be executed: the kernel
// says "no such file" of its dynamic linker, too.
func (s *Sandbox) explain(err error) error {
	var step *stepError
	if !errors.As(err, &step) || step.errno != unix.ENOENT || !strings.HasPrefix(step.what, "execute ") {
		return err
	}
	if linker, e := Interpreter(s.Program); e == nil && linker != "" {
		return Dynamic(s.Program, linker)
	}
	return err
}
