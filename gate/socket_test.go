package gate

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// What the other end said before it died is read, also if it died with
// something of ours unread: then the kernel says ECONNRESET once, first.
func TestLastWords(t *testing.T) {
	for name, unread := range map[string]bool{"all read": false, "something unread": true} {
		t.Run(name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			l, err := newLink(End{Socket: fds[0], Page: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			if err := unix.Send(fds[1], []byte("last"), 0); err != nil {
				t.Fatal(err)
			}
			if unread {
				if err := unix.Send(fds[0], []byte("nobody reads this"), 0); err != nil {
					t.Fatal(err)
				}
			}
			unix.Close(fds[1])
			b := make([]byte, 64)
			n, err := l.recv(b, 0)
			if err != nil || string(b[:n]) != "last" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			if _, err := l.recv(b, 0); !errors.Is(err, io.EOF) {
				t.Fatalf("after the last: %v", err)
			}
		})
	}
}
