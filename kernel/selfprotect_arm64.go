package kernel

import "golang.org/x/sys/unix"

// archRefused are calls of this architecture only that MakerCalls refuses.
var archRefused = []uintptr{unix.SYS_KEXEC_FILE_LOAD}
