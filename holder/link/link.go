// Package link carries messages with descriptors between the processes of
// wardd, and between the monitor and the domains: SOCK_SEQPACKET socket pairs,
// one message a packet.
//
// Invariants:
//   - a message that does not fit the reader's buffer is an error, never a prefix;
//   - descriptors arrive only where the reader asks for some; others are
//     closed by the kernel, and the message is an error;
//   - Try never waits.
package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFiles is the largest number of descriptors with one message.
const MaxFiles = 64

// Errors of Conn.
var (
	ErrFull      = errors.New("the other side does not read")
	ErrTruncated = errors.New("message longer than the largest, or with descriptors that nobody asked for")
)

// A Conn is one end. Its methods may be used from several goroutines; each
// message is sent and received whole.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
}

// New makes a Conn of f, which it takes over.
func New(f *os.File) (*Conn, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return fromFD(fd, f.Name())
}

// fromFD takes over fd. It is made non-blocking, so that waiting costs no thread.
func fromFD(fd int, name string) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Conn{file, raw}, nil
}

// Inherited makes a Conn of a descriptor that this process was started with.
func Inherited(fd int, name string) (*Conn, error) {
	unix.CloseOnExec(fd)
	return fromFD(fd, name)
}

// Pair makes a socket pair: a Conn, and a blocking file to give away.
func Pair(name string) (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	theirs := os.NewFile(uintptr(fds[1]), name)
	ours, err := fromFD(fds[0], name)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Close closes this end.
func (c *Conn) Close() error { return c.file.Close() }

// CloseSoon ends the connection in both directions, so that the other side
// reads what was sent, then end of file; Recv here returns io.EOF.
func (c *Conn) CloseSoon() {
	c.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

// File returns a duplicate of the descriptor, to give away. The caller closes it.
func (c *Conn) File() (*os.File, error) {
	var fd int
	var dupErr error
	if err := c.raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, fmt.Errorf("%s: %w", c.file.Name(), dupErr)
	}
	return os.NewFile(uintptr(fd), c.file.Name()), nil
}

// Fd returns the descriptor, to start a process with while this end is open.
func (c *Conn) Fd() (n uintptr) {
	c.raw.Control(func(fd uintptr) { n = fd }) // an error: it is closed, and so is 0 not what anybody starts with
	return n
}

// Control calls f with the descriptor.
func (c *Conn) Control(f func(fd uintptr)) error { return c.raw.Control(f) }

func rights(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("%d descriptors with one message: the limit is %d", len(files), MaxFiles)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		// Not Fd: it would make the file blocking.
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	return unix.UnixRights(fds...), nil
}

// Send sends a message and waits, if it must, until timeout; then it returns
// ErrFull. The caller keeps the files, and keeps them open until Send returns.
func (c *Conn) Send(msg []byte, timeout time.Duration, files ...*os.File) error {
	oob, err := rights(files)
	if err != nil {
		return err
	}
	if err := c.file.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	var sendErr error
	err = c.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), msg, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN && sendErr != unix.EINTR
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrFull
	}
	return errors.Join(err, sendErr)
}

// Try sends a message at once, or returns ErrFull.
func (c *Conn) Try(msg []byte, files ...*os.File) error {
	oob, err := rights(files)
	if err != nil {
		return err
	}
	var sendErr error
	err = c.raw.Control(func(fd uintptr) {
		for sendErr = unix.EINTR; sendErr == unix.EINTR; {
			sendErr = unix.Sendmsg(int(fd), msg, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
	})
	if sendErr == unix.EAGAIN {
		return ErrFull
	}
	return errors.Join(err, sendErr)
}

// SetReadDeadline makes a waiting Recv return os.ErrDeadlineExceeded at t.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// Recv receives one message into buf, with at most maxFiles descriptors, which
// the caller must close. It returns io.EOF when the other end is closed; an
// empty message counts as that.
func (c *Conn) Recv(buf []byte, maxFiles int) (int, []*os.File, error) {
	return c.recv(buf, maxFiles, 0)
}

func (c *Conn) recv(buf []byte, maxFiles, how int) (int, []*os.File, error) {
	var oob []byte
	if maxFiles > 0 {
		oob = make([]byte, unix.CmsgSpace(4*maxFiles))
	}
	var n, oobn, flags int
	var recvErr error
	err := c.raw.Read(func(fd uintptr) bool {
		// Closed with something of ours unread, it is reset, which is told once and
		// before what it said last (sock_error in __skb_try_recv_datagram, Linux 6.18).
		for recvErr = unix.ECONNRESET; recvErr == unix.ECONNRESET; {
			n, oobn, flags, _, recvErr = unix.Recvmsg(int(fd), buf, oob, how|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		}
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	if err == nil {
		err = recvErr
	}
	if err != nil {
		return 0, nil, err
	}
	files, err := received(oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = ErrTruncated
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		CloseAll(files)
		return 0, nil, err
	}
	return n, files, nil
}

// PeekAll makes Peek begin with the first message that was not received.
func (c *Conn) PeekAll() error {
	var err error
	if ctlErr := c.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0) }); ctlErr != nil {
		return ctlErr
	}
	return os.NewSyscallError("setsockopt SO_PEEK_OFF", err)
}

// Peek is Recv of a message that stays where it is: each call returns the next
// one, and Recv takes the first. buf must have room for every message.
func (c *Conn) Peek(buf []byte, maxFiles int) (int, []*os.File, error) {
	return c.recv(buf, maxFiles, unix.MSG_PEEK)
}

// Unread is how many bytes of messages were sent and not received: also of those
// that a Peek returned.
func (c *Conn) Unread() (n int, err error) {
	if ctlErr := c.raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); ctlErr != nil {
		return 0, ctlErr
	}
	return n, os.NewSyscallError("ioctl SIOCINQ", err)
}

// Skip takes the first message away, if there is one, and closes descriptors
// that come along. It waits neither for one nor for a Peek that does.
func (c *Conn) Skip() error {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*MaxFiles))
	var oobn int
	var err error
	ctlErr := c.raw.Control(func(fd uintptr) {
		for err = unix.EINTR; err == unix.EINTR; {
			_, oobn, _, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		}
	})
	if err := errors.Join(ctlErr, err); err != nil {
		return err
	}
	files, err := received(oob[:oobn])
	CloseAll(files)
	return err
}

func received(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	var files []*os.File
	for i := range messages {
		fds, parseErr := unix.ParseUnixRights(&messages[i])
		err = errors.Join(err, parseErr)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, err
}

// CloseAll closes files.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
