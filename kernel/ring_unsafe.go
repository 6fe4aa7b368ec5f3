package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// ErrRingClosed is returned by Ring.Read after Close.
var ErrRingClosed = errors.New("ring closed")

// A Ring reads the records of what one endpoint sent. One goroutine may read
// at a time; it waits in Go's poller, so that a reader costs no thread.
type Ring struct {
	file     *os.File
	raw      syscall.RawConn
	consumer []byte // the page with our position, the only one that we may write
	producer []byte // the page with the filters' position, then the data
	data     []byte
	read     *uint64 // bytes consumed, ever
	written  *uint64 // bytes produced, ever
	closed   atomic.Bool
	holds    bool          // what is read stays in the ring until Release
	at       uint64        // … read up to here
	reading  chan struct{} // a token: whoever touches the mappings holds it
}

// The header of a record in a ring buffer (include/uapi/linux/bpf.h): its
// length and these bits, then 32 bits for the kernel.
const (
	ringHeader  = 8
	ringBusy    = 1 << 31 // reserved, not yet submitted
	ringDiscard = 1 << 30
)

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
	defer m.Close()
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("ring: a map of type %v", m.Type())
	}
	return openRing(m)
}

func openRing(m *ebpf.Map) (r *Ring, err error) {
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ring: duplicate its descriptor: %w", err)
	}
	// Go's poller takes descriptors that do not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ring: %w", err)
	}
	r = &Ring{file: os.NewFile(uintptr(fd), "ring"), reading: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			r.unmap()
			r.file.Close()
		}
	}()
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	// Fails if the kernel cannot poll the descriptor: reading would spin or never wake.
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("ring: wait for records: %w", err)
	}
	page, size := os.Getpagesize(), int(m.MaxEntries())
	if r.consumer, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("ring: map its position: %w", err)
	}
	// The kernel offers the data twice in a row, for records that wrap. Each
	// page counts as resident where it is mapped: once is enough here.
	if r.producer, err = unix.Mmap(fd, int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("ring: map its data: %w", err)
	}
	r.data = r.producer[page:]
	r.read = (*uint64)(unsafe.Pointer(&r.consumer[0]))
	r.written = (*uint64)(unsafe.Pointer(&r.producer[0]))
	r.reading <- struct{}{}
	return r, nil
}

func (r *Ring) unmap() {
	for _, m := range [][]byte{r.consumer, r.producer} {
		if m != nil {
			unix.Munmap(m)
		}
	}
}

// Read returns the next record. It blocks until there is one, the deadline
// passes (os.ErrDeadlineExceeded) or the ring is closed (ErrRingClosed).
func (r *Ring) Read() (abi.Record, error) {
	for {
		b, err := r.next()
		switch {
		case err != nil:
			return abi.Record{}, err
		case b != nil:
			return abi.ParseRecord(b)
		}
		// The poller tells of a record that comes after this look, not of one before.
		err = r.raw.Read(func(uintptr) bool {
			b, err = r.next()
			return b != nil || err != nil
		})
		switch {
		case b != nil:
			return abi.ParseRecord(b)
		case errors.Is(err, os.ErrClosed) || r.closed.Load():
			return abi.Record{}, ErrRingClosed
		case err != nil:
			return abi.Record{}, fmt.Errorf("ring: %w", err)
		}
	}
}

// next takes a record out, if one is complete; else it returns nil.
func (r *Ring) next() ([]byte, error) {
	<-r.reading
	defer func() { r.reading <- struct{}{} }()
	if r.closed.Load() {
		return nil, ErrRingClosed
	}
	mask := uint64(len(r.data) - 1)
	for {
		at := atomic.LoadUint64(r.read)
		if r.holds {
			at = r.at
		}
		if at >= atomic.LoadUint64(r.written) {
			return nil, nil
		}
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at&mask])))
		if head&ringBusy != 0 {
			return nil, nil // the kernel wakes us when it is submitted, since we stand at it
		}
		n := uint64(head &^ ringDiscard)
		if n > uint64(len(r.data)-ringHeader) {
			return nil, fmt.Errorf("ring: a record of %d bytes in one of %d", n, len(r.data))
		}
		var b []byte
		if head&ringDiscard == 0 {
			b = make([]byte, n)
			first := copy(b, r.data[(at+ringHeader)&mask:])
			copy(b[first:], r.data)
		}
		// Sequentially consistent, so that either the look at written above, in
		// the next call, sees what a filter submits now, or it sees our position
		// and wakes us.
		if r.at = at + (ringHeader+n+7)&^7; !r.holds {
			atomic.StoreUint64(r.read, r.at)
		}
		if b != nil {
			return b, nil
		}
	}
}

// Hold makes Read leave what it reads in the ring, from position at on, if the
// ring is not beyond it: whoever opens the ring next finds it again, until
// Release. While something is held the kernel wakes nobody; look with Next.
// Call it before reading.
func (r *Ring) Hold(at uint64) {
	<-r.reading
	defer func() { r.reading <- struct{}{} }()
	r.holds = true
	if r.at = atomic.LoadUint64(r.read); at > r.at && at <= atomic.LoadUint64(r.written) {
		r.at = at
		atomic.StoreUint64(r.read, at)
	}
}

// At is the position after the record that was read last.
func (r *Ring) At() uint64 {
	<-r.reading
	defer func() { r.reading <- struct{}{} }()
	return r.at
}

// Release gives what was read up to a position back to the filters.
func (r *Ring) Release(at uint64) {
	<-r.reading
	defer func() { r.reading <- struct{}{} }()
	if !r.closed.Load() && at > atomic.LoadUint64(r.read) && at <= r.at {
		atomic.StoreUint64(r.read, at)
	}
}

// Held reports whether something was read that is not released.
func (r *Ring) Held() bool {
	<-r.reading
	defer func() { r.reading <- struct{}{} }()
	return r.holds && !r.closed.Load() && r.at > atomic.LoadUint64(r.read)
}

// Size is that of the ring, in bytes.
func (r *Ring) Size() int { return len(r.data) }

// Next returns the next record, if there is one now.
func (r *Ring) Next() (k abi.Record, ok bool, err error) {
	b, err := r.next()
	if b == nil || err != nil {
		return abi.Record{}, false, err
	}
	k, err = abi.ParseRecord(b)
	return k, err == nil, err
}

// SetDeadline makes Read return at t, after what is there; a zero time means never.
func (r *Ring) SetDeadline(t time.Time) { r.file.SetReadDeadline(t) }

// Drain makes Read, also one that waits, return what is in the ring now, and
// then an error.
func (r *Ring) Drain() error { return r.file.SetReadDeadline(time.Unix(1, 0)) }

// Close ends reading. A second Close is an error.
func (r *Ring) Close() error {
	if r.closed.Swap(true) {
		return ErrRingClosed
	}
	err := r.file.Close()
	<-r.reading // a reader has seen what it is looking at
	r.unmap()
	r.reading <- struct{}{}
	return err
}
