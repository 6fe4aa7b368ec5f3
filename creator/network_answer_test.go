package creator

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

// TestAttackAnswer: a domain that gets datagrams, on a socket that was handed over
// or that it binds itself, sends to an address from which none came. It answers
// who has sent one. The control: the other has sent one, too, and is reached in
// each way.
func TestAttackAnswer(t *testing.T) {
	needRoot(t)
	const refused = "operation not permitted"
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr, l, u := listening(t, host)
		l.Close()
		u.Close()
		_, _, client := listening(t, host)
		otherAddr, _, other := listening(t, host)
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, self := range []bool{false, true} {
			for _, both := range []bool{true, false} {
				n, others, fresh := "1", refused, refused
				if both {
					n, others = "2", "ok"
				}
				if both && self { // else it can make no socket
					fresh = "ok"
				}
				w := newWorld(t, 0, netDomain("mallory", nil, []string{"udp:" + addr}, self, "answer", n, addr, otherAddr))
				live, err := w.start(0)
				if err != nil {
					t.Fatal(err)
				}
				out := bufio.NewReader(live.output)
				if line, err := out.ReadString('\n'); line != "ready\n" {
					t.Fatalf("%q, %v", line, err)
				}
				if both {
					if _, err := other.WriteTo([]byte("question"), to); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := client.WriteTo([]byte("question"), to); err != nil {
					t.Fatal(err)
				}
				line, _ := out.ReadString('\n')
				if want := "done answer: ok; other: " + others + "; by another socket: " + fresh + "; connected: " + fresh; strings.TrimSpace(line) != want {
					t.Errorf("%s, bound by itself: %v, both have sent: %v: %q, want %q", host, self, both, line, want)
				}
				b := make([]byte, 16)
				if k, _, err := client.ReadFrom(b); err != nil || string(b[:k]) != "answer" {
					t.Errorf("the answer is %q, %v", b[:k], err)
				}
				if both {
					if k, _, err := other.ReadFrom(b); err != nil || string(b[:k]) != "other" {
						t.Errorf("control: the other gets %q, %v", b[:k], err)
					}
				}
				w.end()
			}
		}
	}
}
