package kernel

import "golang.org/x/sys/unix"

const fstatat = unix.SYS_FSTATAT

// arm64 has no older forms of calls.
var archCalls, archHostCalls []Call
