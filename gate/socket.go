package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel/packet"
)

// errWoken says that a blocked read was interrupted, not that it failed.
var errWoken = errors.New("woken")

const (
	pollIn   = unix.POLLIN
	dontWait = unix.MSG_DONTWAIT
)

// recv reads one packet, and blocks until there is one. Its errors are final:
// io.EOF if the other end is closed, others for packets that must not be.
func (l *link) recv(b []byte, flags int) (int, error) {
	for {
		n, err := packet.Recv(l.Socket, b, flags)
		switch {
		case err == unix.EINTR, err == unix.ECONNRESET: // reset: it ended with something of ours unread; what it said before is there still
		case err == unix.EAGAIN:
			return 0, errWoken
		case err != nil:
			return 0, fmt.Errorf("recvfrom: %w", err)
		case n > len(b):
			return 0, fmt.Errorf("a message longer than %d bytes", len(b))
		case n == 0:
			return 0, l.empty()
		default:
			return n, nil
		}
	}
}

// empty tells an empty packet from the end of file; recvmsg returns 0 for both.
func (l *link) empty() error {
	fds := []unix.PollFd{{Fd: int32(l.Socket), Events: unix.POLLRDHUP}}
	if _, err := unix.Ppoll(fds, &unix.Timespec{}, nil); err == nil && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) == 0 {
		return errors.New("an empty packet")
	}
	return io.EOF
}

// poll waits until the socket is ready for events, or the other end is gone,
// or wake becomes readable: then errWoken.
func (l *link) poll(events int16, wake int) error {
	fds := [2]unix.PollFd{{Fd: int32(l.Socket), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		if _, err := unix.Ppoll(fds[:], nil, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			return fmt.Errorf("ppoll: %w", err)
		}
		if fds[1].Revents != 0 {
			var b [8]byte
			unix.Read(wake, b[:])
			if fds[0].Revents == 0 {
				return errWoken
			}
		}
		return nil
	}
}

// patience is how long a blocked read of a client lasts before the library
// makes the effort to have it woken when its context ends: setting that up for
// every call would cost fast ones a fifth of their time (docs/decisions/0016).
const patience = 5 * time.Millisecond

// setPatience reports whether reads of the socket return errWoken after patience.
func (l *link) setPatience() bool {
	t := unix.NsecToTimeval(int64(patience))
	return unix.SetsockoptTimeval(l.Socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t) == nil
}

func newEvent() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	return fd, nil
}

func signalEvent(fd int) { unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// send sends one packet. While the queue is full it waits for the other end to
// read; then ctx ends the wait with its error. The filter runs after the wait
// (Linux 6.18, unix_dgram_sendmsg), so a packet is judged once. io.EOF says
// that the other end is closed.
func (l *link) send(ctx context.Context, b []byte) error {
	for {
		err := packet.Send(l.Socket, b)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := l.sendable(ctx); err != nil {
				return err
			}
		case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
			return io.EOF
		default:
			return fmt.Errorf("sendto: %w", err)
		}
	}
}

// submit completes the packet by its header, sends it, and returns the kernel's
// decision. A message that lost a race for its slot's word was not delivered,
// so it is sent again, a few times.
//
// Preconditions: no other send for h.Slot is under way.
func (l *link) submit(ctx context.Context, h *abi.Header, b []byte) (r abi.Reason, detail uint32, err error) {
	h.Length = uint32(len(b) - abi.HeaderSize)
	h.Put(b)
	if l.Check != nil {
		if r, detail := l.outgoing(h); r != abi.ReasonNone {
			return r, detail, nil
		}
	}
	for range 8 {
		if err := l.send(ctx, b); err != nil {
			return abi.ReasonNone, 0, err
		}
		if r, detail = l.verdict(h); r != abi.ReasonRace {
			break
		}
	}
	return r, detail, nil
}

// try sends one packet if there is room for it.
func (l *link) try(b []byte) bool {
	return packet.Send(l.Socket, b) == nil
}

// sendable waits for room in the queue.
func (l *link) sendable(ctx context.Context) error {
	wake := -1
	if ctx.Done() != nil {
		fd, err := newEvent()
		if err != nil {
			return err
		}
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { signalEvent(fd); close(woken) })
		defer func() {
			if !stop() {
				<-woken
			}
			unix.Close(fd)
		}()
		wake = fd
	}
	if err := l.poll(unix.POLLOUT, wake); err == errWoken {
		return context.Cause(ctx)
	} else if err != nil {
		return err
	}
	return nil
}

// bootDeadline returns the deadline of ctx on CLOCK_BOOTTIME in ns; 0: none.
func bootDeadline(ctx context.Context) uint64 {
	d, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return uint64(max(1, bootNow()+int64(time.Until(d))))
}

// bootNow reads CLOCK_BOOTTIME, ns.
func bootNow() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return t.Nano()
}
