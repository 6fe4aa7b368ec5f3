//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// Orders of a client outside Ward, at the socket of an export.
func init() {
	// lie PATH: claims to be a domain, the monitor, root, with descriptors and
	// without, and sends what is no message. It takes effect if the monitor says
	// anything but the one answer that everybody gets.
	orders["lie"] = func(args []string) (string, error) {
		fd, err := dial(args[0])
		if err != nil {
			return "", err
		}
		root := abi.Peer{Domain: 0, Name: "client", UID: 0}
		var lies [][]byte
		for _, op := range []abi.ControlOp{abi.OpOpen, abi.OpServe, abi.OpUnserve, abi.OpHello, abi.OpGate, abi.OpOK, 77} {
			b, err := (&abi.Control{Op: op, Seq: 5, Interface: "test.v1.Echo", Name: "client", System: "mine", Peer: root}).AppendTo(nil)
			if err != nil {
				return "", err
			}
			lies = append(lies, b)
		}
		lies = append(lies, []byte("x"), make([]byte, 1<<16))
		for i := range 20 * len(lies) {
			var oob []byte
			if i%2 == 1 {
				oob = unix.UnixRights(0, 1, fd)
			}
			if err := unix.Sendmsg(fd, lies[i%len(lies)], oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
				break // nobody listens any more
			}
		}
		unix.Shutdown(fd, unix.SHUT_WR)
		answers := 0
		b := make([]byte, abi.MaxControl)
		for {
			n, _, _, _, err := unix.Recvmsg(fd, b, nil, 0)
			if err != nil || n == 0 {
				break
			}
			c, err := abi.ParseControl(b[:n])
			if err != nil || c.Seq != 0 || c.Op != abi.OpGate && c.Op != abi.OpRefused {
				return fmt.Sprintf("the monitor says %+v, %v", c, err), nil
			}
			answers++
		}
		if answers > 1 {
			return fmt.Sprint(answers, " answers"), nil
		}
		return "", errors.New("nobody listens")
	}
	// give PATH: sends a descriptor along with a call, on the gate that it gets.
	orders["give"] = func(args []string) (string, error) {
		conn, err := dial(args[0])
		if err != nil {
			return "", err
		}
		b, oob := make([]byte, abi.MaxControl), make([]byte, unix.CmsgSpace(8))
		_, oobn, _, _, err := unix.Recvmsg(conn, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return "", err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			return "", fmt.Errorf("no gate: %v", err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return "", err
		}
		hello := packet(abi.Header{Kind: abi.KindCall, Gen: 1}, append([]byte{1<<3 | 2, 5}, "hello"...))
		if err := unix.Sendmsg(fds[0], hello, unix.UnixRights(0), nil, unix.MSG_NOSIGNAL); err != nil {
			return "", fmt.Errorf("with a descriptor: %w", err)
		}
		return "", nil
	}
	// hold PATH COUNT: connections that never speak and never read, until the
	// end of the input.
	orders["hold"] = func(args []string) (string, error) {
		for range number(args[1]) {
			if _, err := dial(args[0]); err != nil {
				return "", err
			}
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		return "", nil
	}
	// storm PATH: connects and hangs up, again and again, until the end of the input.
	orders["storm"] = func(args []string) (string, error) {
		end := make(chan struct{})
		go func() { io.Copy(io.Discard, os.Stdin); close(end) }()
		for n := 0; ; n++ {
			select {
			case <-end:
				return fmt.Sprint(n), nil
			default:
			}
			fd, err := dial(args[0])
			if err == nil {
				unix.Close(fd)
			}
			if n == 100 {
				fmt.Println("ready")
			}
		}
	}
}

func dial(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	return fd, err
}
