package kernel

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// ErrRingClosed is returned by Ring.Read after Close.
var ErrRingClosed = errors.New("ring closed")

// A Ring reads the records of what one endpoint sent.
type Ring struct {
	m *ebpf.Map
	r *ringbuf.Reader
}

// OpenRing opens the ring behind a descriptor from Endpoint.Ring. The
// descriptor stays the caller's.
func OpenRing(f *os.File) (*Ring, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ring: duplicate its descriptor: %w", err)
	}
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	r, err := ringbuf.NewReader(m)
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("ring: %w", err)
	}
	return &Ring{m, r}, nil
}

// Read returns the next record. It blocks until there is one, the deadline
// passes (os.ErrDeadlineExceeded) or the ring is closed (ErrRingClosed).
func (r *Ring) Read() (abi.Record, error) {
	raw, err := r.r.Read()
	if errors.Is(err, ringbuf.ErrClosed) {
		return abi.Record{}, ErrRingClosed
	}
	if err != nil {
		return abi.Record{}, fmt.Errorf("ring: %w", err)
	}
	return abi.ParseRecord(raw.RawSample)
}

// SetDeadline makes Read return at t, after what is there; a zero time means never.
func (r *Ring) SetDeadline(t time.Time) { r.r.SetDeadline(t) }

// Drain makes Read, also one that waits, return what is in the ring now, and
// then an error.
func (r *Ring) Drain() error { return r.r.Flush() }

// Close ends reading.
func (r *Ring) Close() error { return errors.Join(r.r.Close(), r.m.Close()) }
