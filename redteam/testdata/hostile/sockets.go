//go:build linux

package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func init() {
	order("socket", func(a []string) (string, error) {
		_, err := unix.Socket(number(a[0]), number(a[1]), number(a[2]))
		return "", err
	})
	order("socketpair", func([]string) (string, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		return "", unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(0), nil, 0)
	})
	order("dial", func(a []string) (string, error) {
		c, err := net.Dial(a[0], a[1])
		if err != nil {
			return "", err
		}
		return "connected", c.Close()
	})
	// On the socket that it was given, its control channel.
	order("rights", func([]string) (string, error) {
		return "", unix.Sendmsg(3, []byte("x"), unix.UnixRights(0), nil, 0)
	})
	order("credentials", func(a []string) (string, error) {
		// Somebody else's user ID and process.
		c := unix.Ucred{Pid: int32(number(a[0])), Uid: uint32(number(a[1])), Gid: uint32(number(a[1]))}
		return "", unix.Sendmsg(3, []byte("x"), unix.UnixCredentials(&c), nil, 0)
	})
	order("sendmsg", func([]string) (string, error) { return "", unix.Sendmsg(3, []byte("x"), nil, nil, 0) })
	order("bindname", func(a []string) (string, error) {
		return "", unix.Bind(3, &unix.SockaddrUnix{Name: fmt.Sprint("@hostile-", os.Getpid())})
	})
	order("sendbuffer", func([]string) (string, error) {
		return "", unix.SetsockoptInt(3, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<17)
	})
	order("attachfilter", func([]string) (string, error) {
		code := unix.SockFilter{Code: 6, K: 1 << 20}
		return "", unix.SetsockoptSockFprog(3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &code})
	})
	order("passcred", func([]string) (string, error) {
		return "", unix.SetsockoptInt(3, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	// On the socket that it was given to listen at somebody gives it a directory: a file of it is emptied, by opening it.
	order("gift", func(a []string) (string, error) {
		s, _, err := unix.Accept4(3, unix.SOCK_CLOEXEC)
		if err != nil {
			return "", err
		}
		b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(s, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return "", err
		}
		m, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(m) != 1 {
			return "", fmt.Errorf("%d messages, %v", len(m), err)
		}
		dir, err := unix.ParseUnixRights(&m[0])
		if err != nil {
			return "", err
		}
		_, err = unix.Openat(dir[0], a[0], unix.O_TRUNC|number(a[1]), 0)
		return "", err
	})
	// IPC objects of others, by their numbers or names.
	order("shm", func(a []string) (string, error) {
		b, err := unix.SysvShmAttach(number(a[0]), 0, 0)
		if err != nil {
			return "", err
		}
		return string(b[:6]), nil
	})
	order("msg", func(a []string) (string, error) {
		var message [4]uint64
		const peek = 0o20000 // MSG_COPY: it stays there
		return only(unix.SYS_MSGRCV, uintptr(number(a[0])), at(&message), 24, 0, peek|unix.IPC_NOWAIT)
	})
	order("sem", func(a []string) (string, error) {
		return only(unix.SYS_SEMCTL, uintptr(number(a[0])), 0, 12, 0) // GETVAL
	})
	order("mq", func(a []string) (string, error) {
		return only(unix.SYS_MQ_OPEN, text(a[0]), unix.O_RDWR, 0, 0)
	})
}
