package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls that only this architecture has.
func init() {
	order("ldt", func([]string) (string, error) {
		var entry [4]uint32
		return only(unix.SYS_MODIFY_LDT, 0, at(&entry), unsafe.Sizeof(entry))
	})
	order("iopl", func([]string) (string, error) { return only(unix.SYS_IOPL, 3) })
	order("ioperm", func([]string) (string, error) { return only(unix.SYS_IOPERM, 0x80, 1, 1) })
}
