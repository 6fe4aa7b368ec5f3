package packet

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recv receives one packet with recvmsg(2), without address and ancillary
// data: descriptors that come along are closed by the kernel, and MSG_CTRUNC is
// set in got. Recv blocks in the system call, on the thread of the caller.
//
// Preconditions: len(b) > 0.
func Recv(fd int, b []byte, flags int) (n, got int, err error) {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	var msg unix.Msghdr
	msg.Iov = &iov
	msg.SetIovlen(1)
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	if errno != 0 {
		return 0, 0, errno
	}
	return int(r), int(msg.Flags), nil
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
