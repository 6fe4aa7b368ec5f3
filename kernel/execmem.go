package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Pin is a file that must have a certain content when a sandbox starts: of
// a dynamically linked program that is pinned, its linker, its libraries, and
// the table by which they are found.
type Pin struct {
	Path   string // as the program finds it; the host's file and the sandbox's are the same
	Digest []byte // SHA-256
}

// Errors of pinned programs.
var (
	// ErrNotELF: what was hashed is not what would run: a script's interpreter, or what binfmt_misc names, would.
	ErrNotELF = errors.New("only an ELF executable can be pinned: what runs a script is its interpreter, which the digest does not cover")
	// ErrPin: a library is not the one that was pinned.
	ErrPin = errors.New("its SHA-256 is not the pinned one: pin the system again with `ward compile --pin` if the file was changed on purpose")
)

// Copies keeps the sealed copies of pinned programs, so that only the first
// start of each pays for copying and hashing it: what is sealed needs no
// second look. It takes as much memory as the programs have, once for all that
// run them. The zero value is ready; it is for one thread of control.
type Copies struct {
	files map[string]*os.File
}

// of returns a sealed copy of a program. It is c's; of a nil c, the caller's.
func (c *Copies) of(program string, digest []byte) (*os.File, error) {
	if c == nil {
		return sealedCopy(program, digest)
	}
	key := string(digest) + program
	if f := c.files[key]; f != nil {
		return f, nil
	}
	f, err := sealedCopy(program, digest)
	if err != nil {
		return nil, err
	}
	if c.files == nil {
		c.files = map[string]*os.File{}
	}
	c.files[key] = f
	return f, nil
}

// Close forgets the copies.
func (c *Copies) Close() {
	for _, f := range c.files {
		f.Close()
	}
	c.files = nil
}

// linkerVariables make a dynamic linker load what nobody pinned.
var linkerVariables = []string{"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES"}

// checkPins compares the pinned files with what is there. Unlike the program
// itself they are not copied: who can write them, root, can still change one
// before the linker opens it. They are in no place that the domain can write.
func (s *Sandbox) checkPins() error {
	if len(s.Pins) == 0 {
		return nil
	}
	if len(s.Digest) == 0 {
		return errors.New("files are pinned, but not the program")
	}
	for _, e := range s.Env {
		if name, _, _ := strings.Cut(e, "="); slices.Contains(linkerVariables, name) {
			return fmt.Errorf("%s is set: with it the linker would load what is not pinned", name)
		}
	}
	for _, p := range s.Pins {
		sum, err := hashTrusted(p.Path)
		if err != nil {
			return fmt.Errorf("pinned file: %w", err)
		}
		if string(sum) != string(p.Digest) {
			return fmt.Errorf("pinned file %s: %w: it is %x, pinned is %x", p.Path, ErrPin, sum, p.Digest)
		}
	}
	return nil
}

// hashTrusted hashes a file on a path of which no part can be changed by others than root.
func hashTrusted(path string) ([]byte, error) {
	fd, err := openTrusted(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxProgram+1))
	if err != nil {
		return nil, fmt.Errorf("hash %s: %w", path, err)
	}
	if n > maxProgram {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxProgram)
	}
	return h.Sum(nil), nil
}

// isELF refuses what the kernel would hand to an interpreter.
func isELF(f *os.File) error {
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		return ErrNotELF
	}
	return nil
}
