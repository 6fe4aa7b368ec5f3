package monitor

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// TestUserAfterRun: a user whose connection was taken just when the system stopped is not
// answered, and nothing is recorded of it (which the system checks at its end). The
// control: before that it has a gate.
func TestUserAfterRun(t *testing.T) {
	s, _, path, _ := outsiders(t)
	comes := func() *net.UnixConn {
		t.Helper()
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs := os.NewFile(uintptr(pair[0]), "user")
		defer theirs.Close()
		conn, err := net.FileConn(theirs)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		s.m.welcome(pair[1], path)
		return conn.(*net.UnixConn)
	}
	if got := answered(t, comes()); got.Op != abi.OpGate {
		t.Fatalf("control: %+v", got)
	}
	s.m.Stop()
	<-s.status
	conn := comes()
	conn.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, abi.MaxControl)
	if n, _, _, _, err := conn.ReadMsgUnix(b, nil); n != 0 || err != nil && os.IsTimeout(err) {
		t.Errorf("%d bytes, %v; it should be closed", n, err)
	}
}
