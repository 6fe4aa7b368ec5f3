package creator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// op is the first byte of a message.
type op uint8

const (
	// From the asking side.
	opStart  op = 1 // domain; descriptors: control, output
	opSignal op = 2 // domain, arg: the signal
	opStop   op = 3 // kill all, clean up, end
	// Answers, with the request's seq.
	opStarted op = 16 // domain, pid, uid, cgroup, arg: what else comes; descriptors: pidfd, then ring and notify socket if arg says so
	opDone    op = 17
	opFailed  op = 18 // text
	// Unasked, seq 0, text: its number (notice.go).
	opExited op = 19 // domain, pid, arg: wait status, cgroup: addresses that it was refused
	opHit    op = 20 // domain, arg: a Limit, cgroup: how often since the last time
)

// Bits of arg in opStarted.
const (
	hasRing uint32 = 1 << iota
	hasNotify
)

// A message, either way, is a packet of its fields in this order, little
// endian, and the text to the packet's end.
type message struct {
	op     op
	seq    uint32
	domain uint32
	arg    uint32
	pid    uint32
	uid    uint32
	cgroup uint64
	text   string
}

const (
	headSize = 1 + 4*5 + 8
	maxText  = 2048 // bytes; longer errors are cut
	maxFiles = 3
)

var errMessage = errors.New("malformed message on the creator's channel")

func (m *message) encode() []byte {
	b := make([]byte, 0, headSize+len(m.text))
	b = append(b, byte(m.op))
	for _, v := range []uint32{m.seq, m.domain, m.arg, m.pid, m.uid} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, m.cgroup)
	return append(b, m.text[:min(len(m.text), maxText)]...)
}

func decode(b []byte) (message, error) {
	if len(b) < headSize || len(b) > headSize+maxText {
		return message{}, errMessage
	}
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[1+4*i:]) }
	return message{
		op: op(b[0]), seq: u32(0), domain: u32(1), arg: u32(2), pid: u32(3), uid: u32(4),
		cgroup: binary.LittleEndian.Uint64(b[21:]), text: string(b[headSize:]),
	}, nil
}

// send writes one message with descriptors, which stay the caller's.
func send(fd int, m message, files ...*os.File) error {
	return sendUntil(context.Background(), fd, m, files...)
}

// sendUntil does so unless ctx ends while the other side reads nothing.
func sendUntil(ctx context.Context, fd int, m message, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, m.encode(), oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			poll(fd, unix.POLLOUT, fullWait)
		default:
			return fmt.Errorf("send on the creator's channel: %w", err)
		}
	}
}

// receive reads one message and its descriptors, which become the caller's.
// io.EOF: the other end is closed.
func receive(fd int) (message, []*os.File, error) {
	b := make([]byte, headSize+maxText+1)
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR, err == unix.ECONNRESET: // reset: it ended with something of ours unread; what it said is there still
			continue
		case err == unix.EAGAIN:
			poll(fd, unix.POLLIN, -1)
			continue
		case err != nil:
			return message{}, nil, fmt.Errorf("receive on the creator's channel: %w", err)
		}
		files, ferr := rights(oob[:oobn])
		if n == 0 && len(files) == 0 {
			return message{}, nil, io.EOF
		}
		m, merr := decode(b[:n])
		if err := errors.Join(ferr, merr); err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			closeFiles(files)
			return message{}, nil, errMessage
		}
		return m, files, nil
	}
}

func rights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, c := range cmsgs {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// fullWait is how long a sender waits, in ms, until it looks whether it need not any more.
const fullWait = 50

// poll waits for events, at most for some ms; below 0: without a limit.
func poll(fd int, events int16, limit int) {
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, limit)
}
