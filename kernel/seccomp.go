package kernel

import (
	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// The language of call tables is that of confine.
type (
	Call      = confine.Call
	Match     = confine.Match
	Arg       = confine.Arg
	CallTable = confine.Table
)

// verdicts of a seccomp filter.
const (
	seccompAllow = confine.Allow
	seccompKill  = confine.Kill
	seccompEPERM = confine.EPERM
	seccompNoSys = confine.NoSys
	seccompArch  = confine.Arch
	x32Bit       = confine.X32Bit
)

// CompileSeccomp makes the classic BPF program of t.
func CompileSeccomp(t *CallTable) ([]unix.SockFilter, error) { return confine.Compile(t) }
