package link

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemovePath: the path of a socket that somebody has stays, of whatever type
// it is, and so does what is no socket. The control: when it is closed, it is removed.
func TestRemovePath(t *testing.T) {
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	for name, kind := range map[string]int{"stream": unix.SOCK_STREAM, "packet": unix.SOCK_SEQPACKET, "datagram": unix.SOCK_DGRAM} {
		path := filepath.Join(t.TempDir(), "s")
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}
		if err == nil && kind != unix.SOCK_DGRAM {
			err = unix.Listen(fd, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := RemovePath(path); err != nil || !there(path) {
			t.Errorf("%s: it is there: %v, %v", name, there(path), err)
		}
		unix.Close(fd)
		if err := RemovePath(path); err != nil || there(path) {
			t.Errorf("%s, closed: it is there: %v, %v", name, there(path), err)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RemovePath(path); err != nil || !there(path) {
		t.Errorf("what is no socket: it is there: %v, %v", there(path), err)
	}
}
