package kernel

import "golang.org/x/sys/unix"

const fstatat = unix.SYS_FSTATAT

// arm64 has no older forms of calls.
var archCalls, archHostCalls []Call

// openFlags are the calls that open files, with the index of their flags.
var openFlags = map[uintptr]int{unix.SYS_OPENAT: 2}

var archAccept = anyArgs(unix.SYS_ACCEPT)
