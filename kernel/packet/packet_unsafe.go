package packet

import (
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
