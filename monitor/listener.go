package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Types of listening sockets.
const (
	socketPacket = unix.SOCK_SEQPACKET
	socketStream = unix.SOCK_STREAM
)

// A listener is a bound socket with a path.
type listener struct {
	file *os.File
	raw  syscall.RawConn
	path string
}

const backlog = 64

// listenAt binds a socket at path, with the given permissions, less the umask,
// from the first moment. A socket that is there and answers nobody is replaced; anything
// else that is there is an error.
func listenAt(path string, kind int, mode fs.FileMode) (*listener, error) {
	if err := removeStale(path, kind); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	// The mode of the new name is that of the socket's inode, less the umask
	// (unix_bind_bsd, net/unix/af_unix.c). A chmod of the name afterwards would
	// follow a link that somebody put there.
	err = unix.Fchmod(fd, uint32(mode))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &listener{file, raw, path}, nil
}

func removeStale(path string, kind int) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is not a socket: remove it, or choose another path", path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return fmt.Errorf("%s is in use by another program", filepath.Clean(path))
	}
	return os.Remove(path)
}

// safeDirectory refuses a directory for sockets in which somebody other than
// root could put another socket in the place of ours, and so pose as the server:
// each directory on the way must be root's, and writable for root only or sticky.
func safeDirectory(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for _, path := range []string{dir, real} { // links stand in directories, too
		for ; ; path = filepath.Dir(path) {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			sys, ok := st.Sys().(*syscall.Stat_t)
			if !ok || sys.Uid != 0 || st.Mode()&0o022 != 0 && st.Mode()&fs.ModeSticky == 0 {
				return fmt.Errorf("who may write %s could put a socket of his own in the place of one in %s: use a directory that is root's, like /run/NAME", path, dir)
			}
			if path == filepath.Dir(path) {
				break
			}
		}
	}
	return nil
}

// serve gives each new connection's descriptor to each, until close.
func (l *listener) serve(each func(fd int)) {
	for {
		fd := -1
		var acceptErr error
		err := l.raw.Read(func(s uintptr) bool {
			fd, _, acceptErr = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return acceptErr != unix.EAGAIN
		})
		switch {
		case err != nil:
			return
		case acceptErr == nil:
			each(fd)
		case acceptErr == unix.ECONNABORTED || acceptErr == unix.EINTR:
		default:
			// No descriptors or no memory: each connection that ends gives
			// some back, and the next round of the poller tries again.
			newBucket(10, 0).wait()
		}
	}
}

// close stops listening and removes the path.
func (l *listener) close() {
	os.Remove(l.path)
	l.file.Close()
}
