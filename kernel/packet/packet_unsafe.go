package packet

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recv receives one packet with recvfrom(2), and blocks in the system call, on
// the thread of the caller. n is the length of the packet, which is more than
// len(b) if b was too short. Descriptors that come along have no place to go
// to: the kernel closes them. recvmsg(2) would say that there were some, for
// about 70 ns a message.
//
// Preconditions: len(b) > 0.
func Recv(fd int, b []byte, flags int) (n int, err error) {
	r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags|unix.MSG_TRUNC), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// plain is the size from which Send tells the Go scheduler that it is in a
// system call: 4 KiB are copied and judged in a microsecond or two, 128 KiB are not.
const plain = 4 << 10

// Send sends one packet with sendto(2), without waiting for room, and without
// SIGPIPE. Since it does not block, small packets are sent without the
// scheduler's bookkeeping around system calls, about 50 ns.
//
// Preconditions: len(b) > 0.
func Send(fd int, b []byte) error {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	var errno syscall.Errno
	if len(b) <= plain {
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
	} else {
		_, _, errno = unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
