//go:build linux

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func cmsgHeader(oob []byte) unsafe.Pointer { return unsafe.Pointer(&oob[0]) }

// rawConnect connects to an address as it is, AF_UNSPEC for one.
func rawConnect(fd int, addr []byte) error {
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr))); e != 0 {
		return e
	}
	return nil
}

// rawBind binds an address as it is, AF_UNSPEC for one.
func rawBind(fd int, addr []byte) error {
	if _, _, e := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr))); e != 0 {
		return e
	}
	return nil
}
