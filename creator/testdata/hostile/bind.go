//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	attacks["binds"] = binds
	attacks["listens"] = listens
	attacks["gather"] = gather
	attacks["holdport"] = holdPort
}

// named makes a socket and an address to give it, told as
// "tcp=127.0.0.1:80", with "+FLAG" behind it: reuseaddr, reuseport, mapped (an
// IPv6 socket), unspec (without an address family).
func named(spec string) (fd int, addr []byte, err error) {
	proto, rest, _ := strings.Cut(spec, "=")
	parts := strings.Split(rest, "+")
	has := func(flag string) bool {
		for _, p := range parts[1:] {
			if p == flag {
				return true
			}
		}
		return false
	}
	ap := netip.MustParseAddrPort(parts[0])
	family, typ := unix.AF_INET, unix.SOCK_STREAM
	if ap.Addr().Is6() || has("mapped") {
		family = unix.AF_INET6
	}
	if proto == "udp" {
		typ = unix.SOCK_DGRAM
	}
	told := family
	if has("unspec") {
		told = unix.AF_UNSPEC
	}
	addr = binary.BigEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, uint16(told)), ap.Port())
	if family == unix.AF_INET {
		a := ap.Addr().As4()
		addr = append(append(addr, a[:]...), make([]byte, 8)...)
	} else {
		a := ap.Addr().As16()
		addr = append(append(append(addr, 0, 0, 0, 0), a[:]...), 0, 0, 0, 0)
	}
	if fd, err = unix.Socket(family, typ, 0); err != nil {
		return -1, nil, err
	}
	for flag, name := range map[string]int{"reuseaddr": unix.SO_REUSEADDR, "reuseport": unix.SO_REUSEPORT} {
		if !has(flag) {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, 1); err != nil {
			unix.Close(fd)
			return -1, nil, err
		}
	}
	return fd, addr, nil
}

// bindName gives a socket its name, and returns it.
func bindName(spec string) (int, error) {
	fd, addr, err := named(spec)
	if err != nil {
		return -1, err
	}
	if err := rawBind(fd, addr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// binds tries each name, and tells how each went.
func binds(specs []string) (string, error) {
	var told []string
	for _, s := range specs {
		fd, err := bindName(s)
		if err != nil {
			told = append(told, err.Error())
			continue
		}
		told = append(told, "bound")
		unix.Close(fd)
	}
	return strings.Join(told, "; "), nil
}

// listens makes TCP sockets listen: those told as "4" and "6" have no name,
// the others the name told. It tells the ports that they got.
func listens(specs []string) (string, error) {
	var told []string
	for _, s := range specs {
		var fd int
		var err error
		switch s {
		case "4":
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		case "6":
			fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		default:
			fd, err = bindName(s)
		}
		if err != nil {
			return "", err
		}
		if err := unix.Listen(fd, 1); err != nil {
			return "", err
		}
		at, err := portOf(fd)
		if err != nil {
			return "", err
		}
		told = append(told, strconv.Itoa(at))
	}
	return strings.Join(told, " "), nil
}

func portOf(fd int) (int, error) {
	at, err := unix.Getsockname(fd)
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		return a.Port, err
	case *unix.SockaddrInet6:
		return a.Port, err
	}
	return 0, err
}

// gather makes sockets listen until the kernel has chosen the port told, on
// every address. It says "ready", and then where those arrived who connect.
func gather(a []string) (string, error) {
	want, _ := strconv.Atoi(a[0])
	for range 5_000_000 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		if err := unix.Listen(fd, 16); err != nil {
			return "", err
		}
		if got, err := portOf(fd); err != nil || got != want {
			unix.Close(fd)
			continue
		}
		fmt.Println("ready")
		for {
			c, _, err := unix.Accept4(fd, 0)
			if err != nil {
				return "", err
			}
			at, err := unix.Getsockname(c)
			if err != nil {
				return "", err
			}
			fmt.Println("at", netip.AddrFrom4(at.(*unix.SockaddrInet4).Addr))
		}
	}
	return "", fmt.Errorf("port %d does not come", want)
}

// holdPort binds a name, says so, and keeps it.
func holdPort(a []string) (string, error) {
	if _, err := bindName(a[0]); err != nil {
		return "", err
	}
	return attacks["idle"](nil)
}
