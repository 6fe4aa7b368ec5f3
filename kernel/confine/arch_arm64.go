package confine

import "golang.org/x/sys/unix"

// Arch is the architecture whose call numbers a Table holds. 32-bit calls
// have another one and kill.
const Arch = unix.AUDIT_ARCH_AARCH64
