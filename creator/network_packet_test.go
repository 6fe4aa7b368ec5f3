package creator

import (
	"bufio"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAttackPackets: the first packet of a connection is judged in whatever shape
// it comes, with IP options and without, of IPv4 and IPv6, also to a socket that
// takes both. The control: in each of them it gets to a socket that is listed, and
// what comes after it does, too.
func TestAttackPackets(t *testing.T) {
	needRoot(t)
	four, tcp, udp := listening(t, "127.0.0.1")
	six, tcp6, udp6 := listening(t, "::1")
	both, tcp46, udp46 := listening(t, "127.0.0.2")
	for _, c := range []interface{ Close() error }{tcp, udp, tcp6, udp6, tcp46, udp46} {
		c.Close()
	}
	_, anyPort, _ := net.SplitHostPort(both)
	every := "[::]:" + anyPort
	w := newWorld(t, 0, netDomain("mallory", nil, []string{"tcp:" + four, "tcp:" + six, "tcp:" + every}, true,
		"listenstay", "tcp="+four, "tcp="+six, "tcp="+every, "4", "6"))
	defer w.end()
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(l.output).ReadString('\n')
	ports := strings.Fields(line)
	if err != nil || len(ports) != 5 {
		t.Fatalf("%q, %v", line, err)
	}
	options := []byte{1, 1, 1, 1} // no operation (RFC 791)
	reach := func(to string, opt []byte) bool {
		d := net.Dialer{Timeout: 300 * time.Millisecond, Control: func(_, _ string, c syscall.RawConn) (err error) {
			if opt == nil {
				return nil
			}
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, string(opt)) }); e != nil {
				return e
			}
			return err
		}}
		if listed := to == four || to == six || strings.HasSuffix(to, ":"+anyPort); listed {
			d.Timeout = 10 * time.Second // it is let in at once, or never
		}
		c, err := d.Dial("tcp", to)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Write([]byte("what comes after it"))
		return err == nil
	}
	for _, c := range []struct { // no more than two for each: nobody takes them
		to  string
		opt []byte
	}{{four, nil}, {four, options}, {six, nil}, {"127.0.0.1:" + anyPort, options}, {"[::1]:" + anyPort, nil}} {
		if !reach(c.to, c.opt) {
			t.Errorf("control: %s, which is listed, is not reached with options %v", c.to, c.opt)
		}
	}
	for _, to := range []string{"127.0.0.1:" + ports[3], "127.0.0.1:" + ports[4]} {
		for _, opt := range [][]byte{nil, options} {
			if reach(to, opt) {
				t.Errorf("%s, which is not listed, is reached with options %v", to, opt)
			}
		}
	}
	if to := "[::1]:" + ports[4]; reach(to, nil) {
		t.Errorf("%s, which is not listed, is reached", to)
	}
}
