package holder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors that wardd is started with.
const (
	ImageFD    = 3 // the policy image: a sealed memfd (Seal)
	LifeLineFD = 4 // one end of a stream socket pair (NewLifeLine); when the other end is closed, the system stops
)

// ReportKind says what a Report is.
type ReportKind byte

const (
	Ready   ReportKind = 1 // all domains that the policy lets start are started; Text: nothing
	Fatal   ReportKind = 2 // the system does not run, or stops; Text: why, one sentence. Stopped follows.
	Stopped ReportKind = 3 // the last report: everything is cleaned up; Status is the end status
)

// A Report is what wardd says on its life line: kind (1 byte), status
// (1 byte), length of the text (uint16, little endian), text.
type Report struct {
	Kind   ReportKind
	Status byte // Stopped: 0, or 1 if a `once` domain failed or the system broke
	Text   string
}

// maxReport is the longest text of a report, in bytes.
const maxReport = 4096

// WriteReport sends r. A longer text is cut.
func WriteReport(w io.Writer, r Report) error {
	text := r.Text[:min(len(r.Text), maxReport)]
	b := append([]byte{byte(r.Kind), r.Status}, 0, 0)
	binary.LittleEndian.PutUint16(b[2:], uint16(len(text)))
	_, err := w.Write(append(b, text...))
	return err
}

// ReadReport reads one report. At the end it returns io.EOF.
func ReadReport(r io.Reader) (Report, error) {
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
	return Report{ReportKind(h[0]), h[1], string(text)}, nil
}

// NewLifeLine makes a life line: ours to read reports from and to keep open,
// theirs to pass on as LifeLineFD and to close.
func NewLifeLine() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("life line: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, fmt.Errorf("life line: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "life line"), os.NewFile(uintptr(fds[1]), "life line of wardd"), nil
}
