// Package lifeline is the life line of a running system: a stream socket pair
// between whoever starts wardd and the holder. The holder says on it how the
// system fares; when the other end is closed, the system stops.
package lifeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// FD is the descriptor of the life line that wardd is started with, after the
// image (link.ImageFD).
const FD = 4

// Kind says what a Report is.
type Kind byte

const (
	Ready   Kind = 1 // all domains that the policy lets start are started; Text: nothing
	Fatal   Kind = 2 // the system does not run, or stops; Text: why, one sentence. Stopped follows.
	Stopped Kind = 3 // the last report: everything is cleaned up; Status is the end status
)

// A Report is what wardd says on its life line: kind (1 byte), status
// (1 byte), length of the text (uint16, little endian), text.
type Report struct {
	Kind   Kind
	Status byte // Stopped: 0, or 1 if a `once` domain failed or the system broke
	Text   string
}

// maxReport is the longest text of a report, in bytes.
const maxReport = 4096

// Write sends r. A longer text is cut.
func Write(w io.Writer, r Report) error {
	text := r.Text[:min(len(r.Text), maxReport)]
	b := append([]byte{byte(r.Kind), r.Status}, 0, 0)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(text)))
	_, err := w.Write(append(b, text...))
	return err
}

// Read reads one report. At the end it returns io.EOF.
func Read(r io.Reader) (Report, error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Report{}, err
	}
	n := binary.LittleEndian.Uint16(h[2:])
	if n > maxReport || h[0] < byte(Ready) || h[0] > byte(Stopped) {
		return Report{}, errors.New("malformed report of wardd")
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return Report{}, io.ErrUnexpectedEOF
	}
	return Report{Kind(h[0]), h[1], string(text)}, nil
}

// New makes a life line: ours to read reports from and to keep open,
// theirs to pass on as FD and to close.
func New() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("life line: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, fmt.Errorf("life line: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "life line"), os.NewFile(uintptr(fds[1]), "life line of wardd"), nil
}
