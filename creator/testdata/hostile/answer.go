//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func init() { attacks["answer"] = answer }

// answer takes datagrams, so many, on the socket that was handed over, or on one
// that it binds itself; answers the last one's sender; and then sends to
// another address, by sending and by connecting, from sockets of all kinds.
func answer(a []string) (string, error) {
	n, _ := strconv.Atoi(a[0])
	own, other := a[1], a[2]
	fd := 3
	if os.Getenv("LISTEN_FDS") == "" {
		var at unix.Sockaddr
		var err error
		if fd, at, err = socketOf("udp", own, 0); err == nil {
			err = unix.Bind(fd, at)
		}
		if err != nil {
			return "", err
		}
	}
	fmt.Println("ready")
	var from unix.Sockaddr
	for range n {
		b := make([]byte, 16)
		var err error
		if _, from, err = unix.Recvfrom(fd, b, 0); err != nil {
			return "", err
		}
	}
	said := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return "ok"
	}
	out := "answer: " + said(unix.Sendto(fd, []byte("answer"), 0, from))
	to, _ := address(other, 0)
	out += "; other: " + said(unix.Sendto(fd, []byte("other"), 0, to))
	_, err := sendTo([]string{other})
	out += "; by another socket: " + said(err)
	_, err = dial("udp", other, 0)
	return out + "; connected: " + said(err), nil
}
