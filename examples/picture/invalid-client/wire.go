package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

// A program owns its address space: nothing makes it use the library. Here it
// writes to the gate itself. The header is that of docs/protocol.md.
const (
	headerSize = 24
	kindCall   = 1
	kindReply  = 2
	slot       = 63 // of the call table; the library takes them from the other end
	ping       = 0  // ordinal of Status/Ping, the only method of its interface
)

func packet(kind byte, method uint32, generation uint16, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	b[0], b[1] = 1, kind
	binary.LittleEndian.PutUint32(b[4:], method)
	binary.LittleEndian.PutUint16(b[8:], slot)
	binary.LittleEndian.PutUint16(b[10:], generation)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(body)))
	return append(b, body...)
}

// wait is how long an answer may take, in milliseconds; one to a permitted
// call takes microseconds.
const wait = 300

// exchange sends p on the gate for Status and reports whether anything came back.
func exchange(fd int, p []byte) (bool, error) {
	if _, err := unix.Write(fd, p); err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	limit := unix.NsecToTimespec(wait * 1e6)
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Ppoll(ready, &limit, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("ppoll: %w", err)
		case n == 0:
			return false, nil
		}
		answer := make([]byte, 4096)
		n, err = unix.Read(fd, answer)
		return n > 0, err
	}
}

// withGate opens a gate for Status and finds its descriptor.
func withGate(ctx context.Context, use func(fd int) error) error {
	before := gates()
	conn, err := grpcgate.Dial(ctx, statusInterface)
	if err != nil {
		return fmt.Errorf("no gate to try it on: %w", err)
	}
	defer conn.Close()
	for fd := range gates() {
		if !before[fd] {
			return use(fd)
		}
	}
	return errors.New("no descriptor of a gate found")
}

// gates finds the descriptors that are SEQPACKET sockets.
func gates() map[int]bool {
	found := map[int]bool{}
	for fd := range 256 {
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_SEQPACKET {
			found[fd] = true
		}
	}
	return found
}

// permitted pings, with the generated client and with bytes of its own.
func permitted(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, statusInterface)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := picturev1.NewStatusClient(conn).Ping(ctx, &picturev1.PingRequest{}); err != nil {
		return err
	}
	return withGate(ctx, func(fd int) error {
		answered, err := exchange(fd, packet(kindCall, ping, 1, nil))
		if err == nil && !answered {
			err = errors.New("a ping written by hand was not answered")
		}
		return err
	})
}

// unanswered sends a packet that must not get through.
func unanswered(ctx context.Context, p []byte) error {
	return withGate(ctx, func(fd int) error {
		answered, err := exchange(fd, p)
		if err == nil && answered {
			err = errGot
		}
		return err
	})
}

func sendForeign(ctx context.Context) error {
	request, err := proto.Marshal(&picturev1.GetRequest{Name: "night", Width: 64, Height: 64, Format: picturev1.Format_FORMAT_PNG})
	if err != nil {
		return err
	}
	return unanswered(ctx, packet(kindCall, ping, 2, request))
}

func sendUnknownMethod(ctx context.Context) error {
	return unanswered(ctx, packet(kindCall, ping+1, 3, nil))
}

func sendReply(ctx context.Context) error {
	return unanswered(ctx, packet(kindReply, ping, 4, nil))
}
