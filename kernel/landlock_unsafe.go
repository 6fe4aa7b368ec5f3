package kernel

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// LandlockABI returns the version of Landlock that the kernel has; an error,
// usually ENOSYS or EOPNOTSUPP, if it has none or it is switched off.
func LandlockABI() (int, error) { return confine.LandlockABI() }

func landlockCreate(fs, net, scope uint64) (int, error) {
	set, err := confine.NewRuleset(fs, net, scope)
	return int(set), err
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
	return confine.Ruleset(set).AllowBeneath(fd, rights)
}

// allowLater appends steps that open name, below dir, and grant rights on it.
func (p *program) allowLater(set, dir int, name string, rights uint64) {
	fd := p.do("open "+name, unix.SYS_OPENAT, dir, name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW)
	rule := pathRule(0, rights)
	p.store(fd, (*uintptr)(unsafe.Pointer(&rule[8])))
	p.do("landlock rule for "+name, unix.SYS_LANDLOCK_ADD_RULE, set, unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(rule), 0)
}
