package confine

import "golang.org/x/sys/unix"

// Arch is the architecture whose call numbers a Table holds.
const Arch = unix.AUDIT_ARCH_X86_64
