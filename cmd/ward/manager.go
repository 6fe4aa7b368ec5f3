package main

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A manager is the service manager that started this process and wants to know when
// the system is ready, by sd_notify(3): `Type=notify` of a unit. The zero value is
// none, who is told nothing.
type manager struct{ socket string }

// serviceManager is the one that the environment names. Programs that this process
// starts are not told of it: what is ready is the whole system.
func serviceManager() manager {
	const name = "NOTIFY_SOCKET"
	m := manager{os.Getenv(name)}
	os.Unsetenv(name)
	return m
}

// tell says what has come about, at once or not at all: a manager that is not there, or
// does not read, must not hold up a system.
func (m manager) tell(state string) {
	if m.socket == "" {
		return
	}
	// A name that begins with @ is an abstract one, for sd_notify and for net.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { unix.Sendto(int(fd), []byte(state), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) })
}
