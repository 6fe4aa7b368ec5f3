package thread

import (
	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

const fstatat = unix.SYS_FSTATAT

// arm64 has no older forms of calls.
var archBase, archProcesses, archMetadata []confine.Call
