//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func init() {
	attacks["dial"] = func(a []string) (string, error) { return dial(a[0], a[1], 0) }
	attacks["dial6"] = func(a []string) (string, error) { return dial(a[0], a[1], unix.AF_INET6) }
	attacks["fastopen"] = fastOpen
	attacks["send"] = sendTo
	attacks["route"] = sourceRoute
	attacks["bindto"] = bindTo
	attacks["listenon"] = listenUnbound
	attacks["reuse"] = reuse
	attacks["makesocket"] = makeSocket
	attacks["sendout"] = func([]string) (string, error) { return "", unix.Sendmsg(1, []byte("sent\n"), nil, nil, 0) }
	attacks["socketpair"] = func([]string) (string, error) {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		return "", err
	}
	attacks["controlbind"] = func([]string) (string, error) {
		fd, _ := strconv.Atoi(os.Getenv("WARD_CONTROL"))
		return "", unix.Bind(fd, &unix.SockaddrUnix{Name: "@squatted"})
	}
	attacks["notify"] = notify
	attacks["acceptnamed"] = func([]string) (string, error) {
		_, _, err := unix.Accept4(3, 0)
		return os.Getenv("LISTEN_FDNAMES") + " " + os.Getenv("LISTEN_FDS") + " " + os.Getenv("LISTEN_PID"), err
	}
}

// address makes a socket address; IPv4 ones in IPv6 form for family AF_INET6.
func address(s string, family int) (unix.Sockaddr, int) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		panic(err)
	}
	if ap.Addr().Is4() && family != unix.AF_INET6 {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, unix.AF_INET6
}

func socketOf(proto, s string, family int) (int, unix.Sockaddr, error) {
	to, family := address(s, family)
	typ := unix.SOCK_STREAM
	if proto == "udp" {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, typ, 0)
	return fd, to, err
}

func dial(proto, s string, family int) (string, error) {
	fd, to, err := socketOf(proto, s, family)
	if err != nil {
		return "", err
	}
	return "", unix.Connect(fd, to)
}

// fastOpen connects by the first message (tcp(7), MSG_FASTOPEN).
func fastOpen(a []string) (string, error) {
	fd, to, err := socketOf("tcp", a[0], 0)
	if err != nil {
		return "", err
	}
	err = unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
	return "", err
}

func sendTo(a []string) (string, error) {
	fd, to, err := socketOf("udp", a[0], 0)
	if err != nil {
		return "", err
	}
	return "", unix.Sendto(fd, []byte("x"), 0, to)
}

// sourceRoute sends a datagram to an address that is allowed, by way of another.
func sourceRoute(a []string) (string, error) {
	fd, to, err := socketOf("udp", a[0], 0)
	if err != nil {
		return "", err
	}
	hop := netip.MustParseAddr(a[1]).As4()
	final := netip.MustParseAddrPort(a[0]).Addr().As4()
	options := append([]byte{137, 11, 4}, hop[:]...) // strict source and record route
	options = append(append(options, final[:]...), 0)
	oob := make([]byte, unix.CmsgSpace(len(options)))
	h := (*unix.Cmsghdr)(cmsgHeader(oob))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_RETOPTS
	h.SetLen(unix.CmsgLen(len(options)))
	copy(oob[unix.CmsgLen(0):], options)
	return "", unix.Sendmsg(fd, []byte("x"), oob, to, 0)
}

func bindTo(a []string) (string, error) {
	fd, to, err := socketOf(a[0], a[1], 0)
	if err != nil {
		return "", err
	}
	return "", unix.Bind(fd, to)
}

// listenUnbound listens on a port of the kernel's choice, and says which.
func listenUnbound(a []string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if len(a) > 0 {
		to, _ := address(a[0], 0)
		if err := unix.Bind(fd, to); err != nil {
			return "", err
		}
	}
	if err := unix.Listen(fd, 1); err != nil {
		return "", err
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	fmt.Printf("port %d\n", at.(*unix.SockaddrInet4).Port)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
	_, _, err = unix.Accept4(fd, 0)
	return "", err
}

// reuse takes a connection from the socket that was handed over, disconnects
// it, and connects it elsewhere.
func reuse(a []string) (string, error) {
	fmt.Println("ready")
	fd, _, err := unix.Accept4(3, 0)
	if err != nil {
		return "", err
	}
	unspec := make([]byte, 16)
	if err := rawConnect(fd, unspec); err != nil {
		return "", fmt.Errorf("disconnect: %w", err)
	}
	to, _ := address(a[0], 0)
	return "", unix.Connect(fd, to)
}

func makeSocket(a []string) (string, error) {
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(a[i])
	}
	_, err := unix.Socket(n[0], n[1], n[2])
	return "", err
}

// notify says by sd_notify(3) what it is told to, to where it is told to.
func notify(a []string) (string, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if len(a) > 1 {
		path = a[1]
	}
	if path == "" {
		return "", errors.New("no NOTIFY_SOCKET")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	if err := unix.Sendto(fd, []byte(a[0]), 0, &unix.SockaddrUnix{Name: path}); err != nil {
		return "", err
	}
	return "", nil
}
