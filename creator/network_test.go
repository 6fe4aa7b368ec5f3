package creator

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// netDomain is a hostile domain with sockets.
func netDomain(name string, connect, listen []string, self bool, args ...string) image.Domain {
	d := image.Domain{Name: name, Program: hostile, Args: args, Connect: connect}
	for i, a := range listen {
		d.Listen = append(d.Listen, image.Listen{Name: fmt.Sprintf("socket%d", i), Address: a, Self: self})
	}
	return d
}

// listening is a TCP and a UDP socket of the test's on one port of the loopback address.
func listening(t *testing.T, host string) (addr string, tcp net.Listener, udp net.PacketConn) {
	t.Helper()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skipf("needs the address %s: %v", host, err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil { // taken: another one
			l.Close()
			continue
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		return l.Addr().String(), l, u
	}
}

// attempt runs one attack with the addresses that it may connect to.
func attempt(t *testing.T, connect []string, args ...string) string {
	t.Helper()
	w := newWorld(t, 0, netDomain("mallory", connect, nil, false, args...))
	defer w.end()
	out, _ := w.result(0)
	return out
}

// TestAttackConnect: connecting and sending elsewhere than listed, in every
// way that the kernel has for it. The control: the same with the address listed.
func TestAttackConnect(t *testing.T) {
	needRoot(t)
	addr, _, _ := listening(t, "127.0.0.1")
	addr6, _, _ := listening(t, "::1")
	_, port, _ := net.SplitHostPort(addr)
	_, port6, _ := net.SplitHostPort(addr6)
	other := "tcp:127.0.0.1:1"
	for _, a := range []struct {
		name    string
		args    []string
		listed  string   // with which it works
		without []string // with which it must not
	}{
		{"tcp", []string{"dial", "tcp", addr}, "tcp:" + addr, []string{other, "tcp:127.0.0.2:" + port, "udp:" + addr, "tcp:127.0.0.1:" + strconv.Itoa(atoi(port)^1)}},
		{"tcp prefix", []string{"dial", "tcp", addr}, "tcp:127.0.0.0/8:*", []string{"tcp:128.0.0.0/8:*", "tcp:127.0.0.2/31:*"}},
		{"udp", []string{"dial", "udp", addr}, "udp:" + addr, []string{"udp:127.0.0.1:1", "tcp:" + addr}},
		{"mapped", []string{"dial6", "tcp", addr}, "tcp:127.0.0.1:" + port, []string{other, "tcp:[::/0]:*"}},
		{"tcp6", []string{"dial", "tcp", addr6}, "tcp:[::1]:" + port6, []string{"tcp:[::2]:" + port6, "tcp:0.0.0.0/0:*", "tcp:[fd00::/8]:*"}},
		{"tcp6 prefix", []string{"dial", "tcp", addr6}, "tcp:[::/64]:" + port6, []string{"tcp:[::100/120]:*"}},
		{"unspecified", []string{"dial", "tcp", "0.0.0.0:" + port}, "tcp:*:" + port, []string{"tcp:0.0.0.0/0:" + port, "tcp:" + addr}},
		{"unspecified6", []string{"dial", "tcp", "[::]:" + port6}, "tcp:*:" + port6, []string{"tcp:[::/0]:" + port6}},
		{"fast open", []string{"fastopen", addr}, "udp:*:1 tcp:" + addr, []string{"udp:*:1 " + other}},
		{"send", []string{"send", addr}, "udp:" + addr, []string{"udp:127.0.0.2:" + port, "udp:127.0.0.1:1"}},
		{"send6", []string{"send", addr6}, "udp:" + addr6, []string{"udp:127.0.0.1:" + port6}},
		{"no rule", []string{"dial", "tcp", addr}, "tcp:*:*", []string{""}},
	} {
		t.Run(a.name, func(t *testing.T) {
			if got := attempt(t, strings.Fields(a.listed), a.args...); !strings.HasPrefix(got, "done") {
				t.Errorf("control: with %q: %s", a.listed, got)
			}
			for _, w := range a.without {
				if got := attempt(t, strings.Fields(w), a.args...); got != "refused: operation not permitted" {
					t.Errorf("with %q: %s", w, got)
				}
			}
		})
	}
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

// TestAttackSourceRoute: a datagram to a listed address that is to go by way
// of another one. The control: without the program on outgoing packets, that
// is, as root outside any domain, the kernel sends it.
func TestAttackSourceRoute(t *testing.T) {
	needRoot(t)
	addr, _, _ := listening(t, "127.0.0.1")
	if got := attempt(t, []string{"udp:" + addr}, "route", addr, "127.0.0.2"); got != "refused: operation not permitted" {
		t.Errorf("a source route: %s", got)
	}
	if got := plainly(t, "route", addr, "127.0.0.2"); !strings.HasPrefix(got, "done") {
		t.Errorf("control: outside a domain: %s", got)
	}
}

// TestAttackSocketTypes: sockets of other families, types and protocols than
// those of the addresses that are listed. The controls: those, and the others outside.
func TestAttackSocketTypes(t *testing.T) {
	needRoot(t)
	tcp := []string{"tcp:127.0.0.1:1"}
	for _, s := range [][3]int{{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_INET6, unix.SOCK_STREAM | unix.SOCK_NONBLOCK, unix.IPPROTO_TCP}} {
		if got := attempt(t, tcp, socketArgs(s)...); !strings.HasPrefix(got, "done") {
			t.Errorf("control: socket %v: %s", s, got)
		}
	}
	for _, s := range [][3]int{
		{unix.AF_INET, unix.SOCK_DGRAM, 0}, {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, {unix.AF_INET, unix.SOCK_STREAM, 262 /* MPTCP */},
		{unix.AF_UNIX, unix.SOCK_STREAM, 0}, {unix.AF_UNIX, unix.SOCK_DGRAM, 0}, {unix.AF_NETLINK, unix.SOCK_RAW, 0}, {unix.AF_PACKET, unix.SOCK_DGRAM, 0}, {unix.AF_VSOCK, unix.SOCK_STREAM, 0},
	} {
		if got := attempt(t, tcp, socketArgs(s)...); got != "refused: operation not permitted" {
			t.Errorf("socket %v: %s", s, got)
		}
	}
	if got := plainly(t, socketArgs([3]int{unix.AF_NETLINK, unix.SOCK_RAW, 0})...); !strings.HasPrefix(got, "done") {
		t.Errorf("control: outside a domain: %s", got)
	}
}

func socketArgs(s [3]int) []string {
	return []string{"makesocket", strconv.Itoa(s[0]), strconv.Itoa(s[1]), strconv.Itoa(s[2])}
}

// plainly runs an attack outside any domain.
func plainly(t *testing.T, args ...string) string {
	t.Helper()
	b, err := exec.Command(hostile, args...).Output()
	out := strings.TrimSpace(string(b))
	if err != nil {
		t.Logf("%v: %v", args, err)
	}
	return out
}

// TestAttackGateMessages: a domain with gates that may connect has neither
// sendmsg nor bind, nor larger buffers. The control: one without gates has.
func TestAttackGateMessages(t *testing.T) {
	gated := func(args ...string) string {
		w := newWorld(t, 0, netDomain("mallory", []string{"tcp:*:1", "udp:*:1"}, nil, false, args...), image.Domain{Name: "server", Program: hostile})
		w.img.Interfaces = []image.Interface{{Name: "test.v1.Any"}}
		w.img.Routes = []image.Route{{Client: 0, Server: 1}}
		defer w.end()
		out, _ := w.result(0)
		return out
	}
	free := []string{"udp:*:1"}
	if got := gated("sendout"); got != "refused: operation not permitted" {
		t.Errorf("sendmsg with gates: %s", got)
	}
	if got := attempt(t, free, "sendout"); strings.Contains(got, "operation not permitted") {
		t.Errorf("control: sendmsg without gates: %s", got)
	}
	if got := gated("bindto", "tcp", "127.0.0.1:0"); got != "refused: operation not permitted" {
		t.Errorf("bind with gates: %s", got)
	}
	if got := attempt(t, free, "socketpair"); got != "refused: operation not permitted" {
		t.Errorf("a datagram pair: %s", got)
	}
}

// TestAttackBind: a domain that binds a socket itself gets the listed address
// and no other, not even by listening without binding.
func TestAttackBind(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	tcp.Close()
	udp.Close()
	try := func(listen string, args ...string) string {
		w := newWorld(t, 0, netDomain("mallory", nil, []string{listen}, true, args...))
		defer w.end()
		out, _ := w.result(0)
		return out
	}
	if got := try("tcp:"+addr, "bindto", "tcp", addr); !strings.HasPrefix(got, "done") {
		t.Errorf("control: %s", got)
	}
	for _, other := range []string{"127.0.0.1:0", "0.0.0.0:" + addr[strings.IndexByte(addr, ':')+1:], "127.0.0.2:" + addr[strings.IndexByte(addr, ':')+1:], "[::1]:9"} {
		if got := try("tcp:"+addr, "bindto", "tcp", other); !strings.HasPrefix(got, "refused: operation not permitted") && !strings.HasPrefix(got, "refused: permission denied") {
			t.Errorf("bind to %s: %s", other, got)
		}
	}
	reach := func(args ...string) error {
		w := newWorld(t, 0, netDomain("mallory", nil, []string{"tcp:" + addr}, true, append([]string{"listenon"}, args...)...))
		defer w.end()
		l, err := w.start(0)
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(l.output)
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		port := strings.TrimSpace(strings.TrimPrefix(line, "port "))
		d := net.Dialer{Timeout: 300e6}
		c, err := d.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		io.Copy(io.Discard, out)
		return err
	}
	if err := reach(addr); err != nil {
		t.Errorf("control: the listed address: %v", err)
	}
	if err := reach(); err == nil {
		t.Error("a port of the kernel's choice is reached")
	}
}

// TestAttackReuse: a connection that was taken from a socket that was handed
// over, disconnected and connected elsewhere. The control: to where it may.
func TestAttackReuse(t *testing.T) {
	needRoot(t)
	target, _, _ := listening(t, "127.0.0.1")
	addr, l, u := listening(t, "127.0.0.1")
	l.Close()
	u.Close()
	for connect, want := range map[string]string{"tcp:" + target: "done", "tcp:127.0.0.1:1": "refused: operation not permitted"} {
		w := newWorld(t, 0, netDomain("mallory", []string{connect}, []string{"tcp:" + addr}, false, "reuse", target))
		live, err := w.start(0)
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(live.output)
		if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		c, dialErr := net.Dial("tcp", addr) // an error: it was disconnected before we knew that we were connected
		line, _ := out.ReadString('\n')
		if !strings.HasPrefix(line, want) {
			t.Errorf("with %s: %q, want %s", connect, line, want)
		}
		if dialErr == nil {
			c.Close()
		}
		w.end()
	}
}

// TestRefusedAddresses: what is refused is recorded with the address, and counted.
func TestRefusedAddresses(t *testing.T) {
	w := newWorld(t, 0, netDomain("mallory", []string{"tcp:127.0.0.1:1"}, nil, false, "dial", "tcp", "127.0.0.9:1"))
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	if l.Ring == nil {
		t.Fatal("no ring")
	}
	ring, err := kernel.OpenRing(l.Ring)
	l.Ring.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	r, err := ring.Read()
	if err != nil {
		t.Fatal(err)
	}
	if got := r.SocketAddress(); got != "tcp:127.0.0.9:1" || r.Seq != 1 || abi.SocketOp(r.Detail) != abi.SocketConnect || r.Reason != abi.ReasonDefault || r.From != 0 {
		t.Errorf("%+v: %s", r, got)
	}
	io.Copy(io.Discard, l.output)
	if e := <-w.client.Exits(); e.Refused != 1 {
		t.Errorf("%d refused, want 1", e.Refused)
	}
}

// TestNotify: sd_notify reaches whoever holds the other end, and nothing else
// of that kind can be named.
func TestNotify(t *testing.T) {
	d := netDomain("daemon", nil, nil, false, "notify", "READY=1")
	d.Notify = true
	w := newWorld(t, 0, d, netDomain("quiet", nil, nil, false, "notify", "READY=1", "/dev/ward-notify"))
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := w.finish(l); !strings.HasPrefix(out, "done") {
		t.Fatal(out)
	}
	defer l.Notify.Close()
	b := make([]byte, 64)
	n, err := unix.Read(int(l.Notify.Fd()), b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:max(n, 0)], err)
	}
	if out, _ := w.result(1); out != "refused: operation not permitted" {
		t.Errorf("without notify: %s", out)
	}
}

// TestUnixListen: a Unix socket that is handed over is there while its domain
// runs, for all users, and removed after.
func TestUnixListen(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/daemon.sock"
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 0, netDomain("daemon", nil, []string{"unix:" + path}, false, "acceptnamed"))
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out, _ := w.finish(l); out != "done socket0 1 1" {
		t.Errorf("%s", out)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays")
	}
}
