package main

import "golang.org/x/sys/unix"

// call32 makes a system call without arguments the 32-bit way.
func call32(nr uint32) int32

// rawThread makes a thread that sleeps until the process ends, with a stack of
// which it uses nothing.
func rawThread(flags, stack uintptr) int64

func sleepingThread(stack uintptr) error {
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	if r := rawThread(flags, stack); r < 0 {
		return unix.Errno(-r)
	}
	return nil
}
