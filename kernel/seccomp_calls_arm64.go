package kernel

import "golang.org/x/sys/unix"

const fstatat = unix.SYS_FSTATAT

// arm64 has no older forms of calls.
var archCalls, archHostCalls []Call

var archAccept = anyArgs(unix.SYS_ACCEPT)
