package creator

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/kernel"
)

// refusals runs a domain to its end, and returns what it said and what the
// programs at its cgroup recorded, as many records as they counted.
func refusals(t *testing.T, w *world, domain int) (said string, records []string) {
	t.Helper()
	l, err := w.start(domain)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := kernel.OpenRing(l.Ring)
	l.Ring.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	b, err := io.ReadAll(l.output)
	if err != nil {
		t.Fatal(err)
	}
	e := <-w.client.Exits()
	if e.Domain != abi.DomainID(domain) {
		t.Fatalf("domain %d ended, not %d", e.Domain, domain)
	}
	for i := range e.Refused {
		r, err := ring.Read()
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != i+1 || r.Reason != abi.ReasonDefault || r.From != abi.DomainID(domain) || r.To != abi.DomainID(domain) || r.Time == 0 {
			t.Errorf("record %d: %+v", i+1, r)
		}
		records = append(records, abi.SocketOp(r.Detail).String()+" "+r.SocketAddress())
	}
	return strings.TrimSpace(string(b)), records
}

// TestAttackBindRecorded: a domain binds what is not listed, in every way that
// the kernel has for it. Each is refused by the programs at its cgroup, with
// Landlock and without, and recorded with address, port and protocol. The
// controls: what is listed is bound, and outside any domain all of it is.
func TestAttackBindRecorded(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(addr)
	other, tcp2, udp2 := listening(t, "::1")
	_, free, _ := net.SplitHostPort(other)
	for _, c := range []io.Closer{tcp, udp, tcp2, udp2} {
		c.Close()
	}
	listed := []string{"tcp=" + addr, "udp=" + addr, "tcp=" + addr + "+mapped", "tcp=" + addr + "+reuseaddr+reuseport"}
	attacks := [][2]string{ // what is bound, and the address recorded
		{"tcp=127.0.0.1:" + free, "tcp:127.0.0.1:" + free},
		{"tcp=127.0.0.1:80", "tcp:127.0.0.1:80"},
		{"tcp=127.0.0.1:0", "tcp:127.0.0.1:0"},
		{"tcp=0.0.0.0:" + port, "tcp:0.0.0.0:" + port},
		{"tcp=0.0.0.0:" + port + "+unspec", "tcp:0.0.0.0:" + port},
		{"tcp=127.0.0.2:" + port, "tcp:127.0.0.2:" + port},
		{"tcp=127.0.0.2:" + port + "+mapped", "tcp:127.0.0.2:" + port},
		{"tcp=[::1]:" + port, "tcp:[::1]:" + port},
		{"tcp=[::]:" + port, "tcp:[::]:" + port},
		{"tcp=[::]:0", "tcp:[::]:0"},
		{"tcp=127.0.0.1:" + free + "+reuseaddr+reuseport", "tcp:127.0.0.1:" + free},
		{"udp=127.0.0.1:" + free, "udp:127.0.0.1:" + free},
		{"udp=127.0.0.1:0", "udp:127.0.0.1:0"},
		{"udp=0.0.0.0:" + port, "udp:0.0.0.0:" + port},
		{"udp=127.0.0.2:" + port + "+mapped", "udp:127.0.0.2:" + port},
		{"udp=[::]:" + port + "+reuseaddr", "udp:[::]:" + port},
	}
	args := append([]string{"binds"}, listed...)
	says := slices.Repeat([]string{"bound"}, len(listed))
	var want []string
	for _, a := range attacks {
		args = append(args, a[0])
		says = append(says, "operation not permitted")
		want = append(want, "bind "+a[1])
	}
	for name, without := range map[string]kernel.Defence{"with Landlock": 0, "without Landlock": kernel.WithLandlock} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, without, netDomain("mallory", nil, []string{"tcp:" + addr, "udp:" + addr}, true, args...))
			defer w.end()
			said, records := refusals(t, w, 0)
			if want := "done " + strings.Join(says, "; "); said != want {
				t.Errorf("it says %q, want %q", said, want)
			}
			if !slices.Equal(records, want) {
				t.Errorf("recorded\n%s\nwant\n%s", strings.Join(records, "\n"), strings.Join(want, "\n"))
			}
		})
	}
	if got := plainly(t, args...); strings.Count(got, "bound") != len(says) {
		t.Errorf("control: outside any domain: %s", got)
	}
}

// TestAttackBindEvery: who may bind every address of one protocol does not get
// the other's.
func TestAttackBindEvery(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	tcp.Close()
	udp.Close()
	_, port, _ := net.SplitHostPort(addr)
	const refused = "operation not permitted"
	for _, c := range [][3]string{ // listed, and what becomes of 0.0.0.0 and ::
		{"tcp:0.0.0.0:" + port, "bound", refused},
		{"tcp:[::]:" + port, refused, "bound"},
		{"tcp:*:" + port, "bound", "bound"},
	} {
		w := newWorld(t, 0, netDomain("mallory", nil, []string{c[0]}, true, "binds", "tcp=0.0.0.0:"+port, "tcp=[::]:"+port))
		if got, _ := w.result(0); got != "done "+c[1]+"; "+c[2] {
			t.Errorf("%s: %s", c[0], got)
		}
		w.end()
	}
}

// TestAttackListenRecorded: a socket that listens without being bound, on a
// port of the kernel's choice, is recorded; that nobody reaches it is
// TestAttackBind's. The control: one that is bound as listed is not.
func TestAttackListenRecorded(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	tcp.Close()
	udp.Close()
	w := newWorld(t, 0, netDomain("mallory", nil, []string{"tcp:" + addr}, true, "listens", "tcp="+addr, "4", "6"))
	defer w.end()
	said, records := refusals(t, w, 0)
	ports := strings.Fields(said)
	if len(ports) != 4 || ports[0] != "done" || "127.0.0.1:"+ports[1] != addr {
		t.Fatalf("it says %q", said)
	}
	if want := []string{"listen tcp:0.0.0.0:" + ports[2], "listen tcp:[::]:" + ports[3]}; !slices.Equal(records, want) {
		t.Errorf("recorded %q, want %q", records, want)
	}
}

// TestAttackGatherPort: a domain that may bind a port of one address makes
// sockets listen without binding until the kernel has chosen that port, on
// every address. Only the listed address is reached. The control: with every
// address listed, another is reached.
func TestAttackGatherPort(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	tcp.Close()
	udp.Close()
	_, port, _ := net.SplitHostPort(addr)
	first := func(listed string) string {
		w := newWorld(t, 0, netDomain("mallory", nil, []string{listed}, true, "gather", port))
		defer w.end()
		l, err := w.start(0)
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(l.output)
		if line, err := out.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		d := net.Dialer{Timeout: 300 * time.Millisecond} // it is let in at once, or never
		for _, to := range []string{"127.0.0.2:" + port, addr} {
			if c, err := d.Dial("tcp", to); err == nil {
				defer c.Close()
			}
		}
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
	if got := first("tcp:*:" + port); got != "at 127.0.0.2" {
		t.Errorf("control: with every address listed the first to arrive is %q", got)
	}
	if got := first("tcp:" + addr); got != "at 127.0.0.1" {
		t.Errorf("the first to arrive is %q", got)
	}
}

// TestAttackStealPort: a domain takes another's port by SO_REUSEADDR or
// SO_REUSEPORT, to share what arrives there or to be there after a restart. It
// is refused, and recorded. The control: if it is listed for both, the kernel lets it.
func TestAttackStealPort(t *testing.T) {
	needRoot(t)
	addr, tcp, udp := listening(t, "127.0.0.1")
	tcp.Close()
	udp.Close()
	_, port, _ := net.SplitHostPort(addr)
	for _, proto := range []string{"tcp", "udp"} {
		name := proto + "=" + addr
		all := []string{name + "+reuseaddr", name + "+reuseport", name + "+reuseaddr+reuseport", proto + "=0.0.0.0:" + port + "+reuseaddr"}
		run := func(listed string) (said string, records []string) {
			w := newWorld(t, 0,
				netDomain("server", nil, []string{proto + ":" + addr}, true, "holdport", all[0]),
				netDomain("mallory", nil, []string{listed}, true, append([]string{"binds"}, all...)...))
			defer w.end()
			server, err := w.start(0)
			if err != nil {
				t.Fatal(err)
			}
			server.Ring.Close()
			server.ready(t)
			return refusals(t, w, 1)
		}
		if said, _ := run(proto + ":" + addr); !strings.HasPrefix(said, "done bound; ") {
			t.Errorf("control: listed for both: %s", said)
		}
		said, records := run(proto + ":127.0.0.1:1")
		if want := "done " + strings.Join(slices.Repeat([]string{"operation not permitted"}, len(all)), "; "); said != want {
			t.Errorf("it says %q", said)
		}
		stolen := "bind " + proto + ":" + addr
		if want := []string{stolen, stolen, stolen, "bind " + proto + ":0.0.0.0:" + port}; !slices.Equal(records, want) {
			t.Errorf("recorded %q, want %q", records, want)
		}
	}
}

// TestRefusedBindsAreBounded: whoever binds without end is refused each time
// and fills its own ring; what does not fit is counted.
func TestRefusedBindsAreBounded(t *testing.T) {
	needRoot(t)
	const tries = 500
	args := append([]string{"binds"}, slices.Repeat([]string{"tcp=127.0.0.1:1"}, tries)...)
	w := newWorld(t, 0, netDomain("mallory", nil, []string{"tcp:127.0.0.1:2"}, true, args...))
	defer w.end()
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := kernel.OpenRing(l.Ring)
	l.Ring.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	said, err := io.ReadAll(l.output)
	if err != nil || strings.Count(string(said), "operation not permitted") != tries {
		t.Errorf("it says %s, %v", said, err)
	}
	if e := <-w.client.Exits(); e.Refused != tries {
		t.Errorf("%d counted, want %d", e.Refused, tries)
	}
	var kept int
	for {
		r, ok, err := ring.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if kept++; r.Seq != uint64(kept) {
			t.Fatalf("record %d has the number %d", kept, r.Seq)
		}
	}
	if kept == 0 || kept >= tries {
		t.Errorf("%d records kept of %d", kept, tries)
	}
}
