package creator

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// udpAt makes a UDP socket at a port of 127.0.0.1, 0 for any free one, that shares
// its address with others that would.
func udpAt(t *testing.T, port int) (fd, at int, err error) {
	t.Helper()
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, name.(*unix.SockaddrInet4).Port, nil
}

// TestAttackUDPPort: who comes later takes the UDP port that was made for a domain:
// another domain that lists it, too (which the compiler refuses), or another
// program of the host. The control: two sockets that both want it share a port,
// and the datagrams go to the later one.
func TestAttackUDPPort(t *testing.T) {
	needRoot(t)
	first, port, err := udpAt(t, 0)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := udpAt(t, port)
	if err != nil {
		t.Fatalf("control: the second one is refused: %v", err)
	}
	from, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if _, err := from.Write([]byte("for the first")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	if n, _, err := unix.Recvfrom(second, b, 0); err != nil || string(b[:n]) != "for the first" {
		t.Errorf("control: the later one has %q, %v", b[:n], err)
	}
	unix.Close(second)
	unix.Close(first)

	// A domain's own may lie above each other, as those of name servers do. Until the
	// domain has the port, any other program of the host may take it.
	var w *world
	for tries := 1; ; tries++ {
		local, all := fmt.Sprintf("udp:127.0.0.1:%d", port), fmt.Sprintf("udp:0.0.0.0:%d", port)
		w = newWorld(t, 0, netDomain("server", nil, []string{all, local}, false, "idle"), netDomain("mallory", nil, []string{local}, false, "idle"))
		l, err := w.start(0)
		if err == nil {
			l.ready(t)
			break
		}
		if tries == 5 || !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
		if first, port, err = udpAt(t, 0); err != nil {
			t.Fatal(err)
		}
		unix.Close(first)
	}
	if _, err := w.start(1); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("another domain: %v", err)
	}
	if _, _, err := udpAt(t, port); err != unix.EADDRINUSE {
		t.Errorf("another program: %v", err)
	}
}
