package confine

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Scope says for which threads of the process something holds.
type Scope int

const (
	Thread  Scope = iota // the calling one, which must be locked to its goroutine
	Process              // all
)

// NoNewPrivs sets no_new_privs on the calling thread (prctl(2)): no program
// that it executes gives it more rights than it has.
func NoNewPrivs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// Install puts a compiled Table on the calling thread, or on all threads of
// the process (SECCOMP_FILTER_FLAG_TSYNC), which then have no_new_privs if
// the calling one has.
//
// Preconditions: no_new_privs, or CAP_SYS_ADMIN.
func Install(prog []unix.SockFilter, scope Scope) error {
	flags := uintptr(0)
	if scope == Process {
		flags = unix.SECCOMP_FILTER_FLAG_TSYNC
	}
	fprog := &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	tid, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(fprog)))
	runtime.KeepAlive(prog)
	if e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	if tid != 0 {
		return fmt.Errorf("seccomp: thread %d has a filter of its own", tid)
	}
	return nil
}

// LandlockABI returns the version of Landlock that the kernel has; an error,
// usually ENOSYS or EOPNOTSUPP, if it has none or it is switched off.
func LandlockABI() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, e
	}
	return int(v), nil
}

// A Ruleset is the descriptor of a Landlock ruleset.
type Ruleset int

// NewRuleset makes a ruleset that handles, and so refuses, the given rights
// to files and TCP ports and the given scopes (landlock_create_ruleset(2)).
func NewRuleset(files, net, scoped uint64) (Ruleset, error) {
	// Older kernels know a shorter struct and accept a longer one if the rest is 0.
	attr := [3]uint64{files, net, scoped}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return -1, e
	}
	return Ruleset(fd), nil
}

// AllowBeneath grants rights on the file or directory tree of a descriptor.
func (r Ruleset) AllowBeneath(fd int, rights uint64) error {
	rule := new([16]byte) // struct landlock_path_beneath_attr, packed
	binary.NativeEndian.PutUint64(rule[:], rights)
	binary.NativeEndian.PutUint32(rule[8:], uint32(fd))
	return r.add(unix.LANDLOCK_RULE_PATH_BENEATH, rule)
}

// landlockRuleNetPort is LANDLOCK_RULE_NET_PORT of linux/landlock.h (6.7).
const landlockRuleNetPort = 2

// AllowPort grants rights on a TCP port (ABI 4).
func (r Ruleset) AllowPort(port uint16, rights uint64) error {
	rule := new([16]byte) // struct landlock_net_port_attr
	binary.NativeEndian.PutUint64(rule[:], rights)
	binary.NativeEndian.PutUint64(rule[8:], uint64(port))
	return r.add(landlockRuleNetPort, rule)
}

func (r Ruleset) add(kind uintptr, rule *[16]byte) error {
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r), kind, uintptr(unsafe.Pointer(rule)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// Restrict puts the calling thread under r, for good.
//
// Preconditions: no_new_privs, or CAP_SYS_ADMIN.
func (r Ruleset) Restrict() error {
	_, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r), 0, 0)
	if e != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", e)
	}
	return nil
}

// Close forgets the ruleset; who is under it stays so.
func (r Ruleset) Close() error { return unix.Close(int(r)) }
