package link

import (
	"os"

	"golang.org/x/sys/unix"
)

// RemovePath removes the path of a socket that nobody has any more: whoever had
// been bound to it may have closed it long ago, and it may be another program's by now.
// Anything else that is there stays.
func RemovePath(path string) error {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeSocket == 0 {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// Of a socket of another type the kernel says so, and whoever has it does not
	// notice (unix_find_bsd, net/unix/af_unix.c).
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return nil
	}
	return os.Remove(path)
}
