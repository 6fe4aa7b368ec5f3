package kernel

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LandlockABI returns the version of Landlock that the kernel has; an error,
// usually ENOSYS or EOPNOTSUPP, if it has none or it is switched off.
func LandlockABI() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, e
	}
	return int(v), nil
}

func landlockCreate(fs, net, scope uint64) (int, error) {
	// Older kernels know a shorter struct and accept a longer one if the rest is 0.
	attr := [3]uint64{fs, net, scope}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

// pathRule is struct landlock_path_beneath_attr, which is packed, with room
// for a descriptor that is stored as a word.
func pathRule(fd int, rights uint64) *[16]byte {
	b := new([16]byte)
	binary.NativeEndian.PutUint64(b[:], rights)
	binary.NativeEndian.PutUint32(b[8:], uint32(fd))
	return b
}

func landlockAllow(set, fd int, rights uint64) error {
	rule := pathRule(fd, rights)
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(rule)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// allowLater appends steps that open name, below dir, and grant rights on it.
func (p *program) allowLater(set, dir int, name string, rights uint64) {
	fd := p.do("open "+name, unix.SYS_OPENAT, dir, name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW)
	rule := pathRule(0, rights)
	p.store(fd, (*uintptr)(unsafe.Pointer(&rule[8])))
	p.do("landlock rule for "+name, unix.SYS_LANDLOCK_ADD_RULE, set, unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(rule), 0)
}
