package kernel

import "golang.org/x/sys/unix"

// seccompArch is the architecture whose numbers the tables hold. 32-bit calls
// have another one and kill.
const seccompArch = unix.AUDIT_ARCH_AARCH64

const fstatat = unix.SYS_FSTATAT

// arm64 has no older forms of calls.
var archCalls, archHostCalls []Call
