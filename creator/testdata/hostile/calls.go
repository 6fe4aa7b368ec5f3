//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	attacks["socket"] = func([]string) (string, error) {
		_, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return "", err
	}
	attacks["abstract"] = func(args []string) (string, error) {
		c, err := net.Dial("unix", args[0])
		if err != nil {
			return "", err
		}
		return "connected", c.Close()
	}
	attacks["tcp"] = func(args []string) (string, error) {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return "", err
		}
		return "connected", c.Close()
	}
	// Calls on a socket that it was given: the control channel.
	attacks["bind"] = func([]string) (string, error) {
		return "", unix.Bind(3, &unix.SockaddrUnix{})
	}
	attacks["connect"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_CONNECT, 3, 0, 0)
		return reached(e, unix.EINVAL, unix.EISCONN, unix.EFAULT)
	}
	attacks["listen"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_LISTEN, 3, 1, 0)
		return reached(e, unix.EINVAL)
	}
	attacks["accept"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_ACCEPT4, 3, 0, 0, unix.SOCK_NONBLOCK, 0, 0)
		return reached(e, unix.EINVAL, unix.EAGAIN)
	}
	attacks["sendmsg"] = func([]string) (string, error) {
		return "", unix.Sendmsg(3, []byte("x"), nil, nil, 0)
	}
	attacks["smuggle"] = func([]string) (string, error) {
		return "", unix.Sendmsg(3, []byte("x"), unix.UnixRights(0), nil, 0)
	}
	attacks["sendmmsg"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_SENDMMSG, 3, 0, 0, 0, 0, 0)
		return reached(e, unix.EFAULT)
	}
	attacks["sendto"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_SENDTO, 3, 0, 0, 0, 1<<32, 0)
		return reached(e, unix.EFAULT)
	}
	attacks["sendbuffer"] = func([]string) (string, error) {
		return "", unix.SetsockoptInt(3, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<17)
	}
	attacks["detachfilter"] = func([]string) (string, error) {
		err := unix.SetsockoptInt(3, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) {
			return "there was none", nil
		}
		return "", err
	}
	attacks["timeout"] = func([]string) (string, error) {
		return "", unix.SetsockoptTimeval(3, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	}
	// The terminal: descriptor 1 is one in this test.
	attacks["tiocsti"] = func([]string) (string, error) { return "", push(unix.TIOCSTI) }
	attacks["tiocsti64"] = func([]string) (string, error) { return "", push(unix.TIOCSTI | 1<<32) }
	attacks["tioclinux"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, 1, 0x541c, 0)
		return reached(e, unix.ENOTTY, unix.EFAULT)
	}
	// Calls that no domain needs.
	attacks["iouring"] = func([]string) (string, error) {
		var params [120]byte
		_, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		return reached(e)
	}
	attacks["userfaultfd"] = func([]string) (string, error) {
		const userModeOnly = 1
		_, _, e := unix.Syscall(unix.SYS_USERFAULTFD, userModeOnly, 0, 0)
		return reached(e)
	}
	attacks["addkey"] = func([]string) (string, error) {
		_, err := unix.AddKey("user", "hostile", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return "", err
	}
	attacks["keyctl"] = func([]string) (string, error) {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return "", err
	}
	attacks["perf"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_PERF_EVENT_OPEN, 0, 0, ^uintptr(0), ^uintptr(0), 0, 0)
		return reached(e, unix.EFAULT)
	}
	attacks["bpf"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_BPF, 1000, 0, 0)
		return reached(e, unix.EINVAL, unix.EFAULT)
	}
	attacks["personality"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
		return reached(e)
	}
	attacks["memfd"] = func([]string) (string, error) {
		_, err := unix.MemfdCreate("hostile", 0)
		return "", err
	}
	attacks["setns"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_SETNS, ^uintptr(0), 0, 0)
		return reached(e, unix.EBADF)
	}
	attacks["handle"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, ^uintptr(0), 0, 0, 0, 0, 0)
		return reached(e, unix.EFAULT, unix.EBADF)
	}
	attacks["splice"] = func([]string) (string, error) {
		_, _, e := unix.Syscall6(unix.SYS_SPLICE, ^uintptr(0), 0, ^uintptr(0), 0, 1, 0)
		return reached(e, unix.EBADF)
	}
	attacks["setown"] = func([]string) (string, error) {
		_, err := unix.FcntlInt(3, unix.F_SETOWN, os.Getpid())
		return "", err
	}
	attacks["call32"] = func([]string) (string, error) {
		if n := call32(20); n > 0 { // getpid
			return fmt.Sprint("32-bit getpid: ", n), nil
		}
		return "", errors.New("no answer")
	}
	attacks["callx32"] = func([]string) (string, error) {
		_, _, e := unix.RawSyscall(unix.SYS_GETPID|0x40000000, 0, 0, 0)
		return reached(e, unix.ENOSYS)
	}
	// Files.
	attacks["read"] = func(args []string) (string, error) {
		b, err := os.ReadFile(args[0])
		return fmt.Sprint(len(b), " bytes"), err
	}
	attacks["chmodself"] = func([]string) (string, error) { return "", os.Chmod(os.Args[0], 0o777) }
	attacks["writeself"] = func([]string) (string, error) {
		// A program that runs cannot be opened for writing; replacing it is the attack.
		return "", os.Rename(os.Args[0], filepath.Join(filepath.Dir(os.Args[0]), "replaced"))
	}
	attacks["fill"] = func(args []string) (string, error) {
		name := filepath.Join(args[0], "hostile-fill")
		f, err := os.Create(name)
		if err != nil {
			return "", err
		}
		defer os.Remove(name)
		block := make([]byte, 1<<16)
		n := 0
		for ; n < number(args[1]); n += len(block) {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
		return fmt.Sprint(n), nil
	}
	attacks["inodes"] = func(args []string) (string, error) {
		n := 0
		for ; n < number(args[1]); n++ {
			if os.Mkdir(filepath.Join(args[0], fmt.Sprint("hostile-", n)), 0o700) != nil {
				break
			}
		}
		for i := range n {
			os.Remove(filepath.Join(args[0], fmt.Sprint("hostile-", i)))
		}
		return fmt.Sprint(n), nil
	}
	attacks["open"] = func(args []string) (string, error) {
		n := 0
		for ; n < number(args[0]); n++ {
			if _, err := unix.Dup(0); err != nil {
				break
			}
		}
		return fmt.Sprint(n), nil
	}
	attacks["setuidfile"] = func(args []string) (string, error) {
		name := filepath.Join(args[0], "setuid")
		if err := os.WriteFile(name, []byte("x"), 0o755); err != nil {
			return "", err
		}
		return "", unix.Chmod(name, 0o4755)
	}
	attacks["setuidcreate"] = func(args []string) (string, error) {
		fd, err := unix.Open(filepath.Join(args[0], "setuid"), unix.O_CREAT|unix.O_WRONLY, 0o4755)
		if err != nil {
			return "", err
		}
		return "", unix.Close(fd)
	}
	attacks["chroot"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_CHROOT, 0, 0, 0)
		return reached(e, unix.EFAULT)
	}
}

// push puts a byte into the terminal's input, as if typed. It makes the
// terminal its own first, which is what a session leader may do.
func push(cmd uintptr) error {
	unix.Syscall(unix.SYS_IOCTL, 1, unix.TIOCSCTTY, 0)
	b := byte('x')
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, 1, cmd, uintptr(unsafe.Pointer(&b))); e != 0 {
		return e
	}
	return nil
}
