package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The commands of quotactl_fd(2) (Linux 5.14) for projects that Ward uses:
// QCMD(command, PRJQUOTA) of linux/quota.h and linux/dqblk_xfs.h.
const (
	quotaSet   = 0x800008<<8 | projects // Q_SETQUOTA
	quotaGet   = 0x800007<<8 | projects // Q_GETQUOTA
	quotaState = 0x5808<<8 | projects   // Q_XGETQSTATV
	projects   = 2                      // PRJQUOTA
)

// quotaBlock is in how many bytes limits are counted (QIF_DQBLKSIZE).
const quotaBlock = 1024

// limitsValid says that a quotaLimits sets limits (QIF_LIMITS).
const limitsValid = 1 | 4

// quotaLimits is struct if_dqblk of linux/quota.h.
type quotaLimits struct {
	spaceHard, spaceSoft uint64 // of quotaBlock
	space                uint64 // in use, bytes
	filesHard, filesSoft uint64
	files                uint64 // in use
	spaceTime, filesTime uint64
	valid                uint32
	_                    uint32
}

func (d *quotaLimits) pointer() unsafe.Pointer { return unsafe.Pointer(d) }

// Flags of a quotaStatus (linux/dqblk_xfs.h).
const (
	projectsCounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	projectsBounded = 1 << 5 // FS_QUOTA_PDQ_ENFD
)

// quotaStatus is the beginning of struct fs_quota_statv of linux/dqblk_xfs.h,
// and more room than the rest takes.
type quotaStatus struct {
	version int8 // FS_QSTATV_VERSION1
	_       uint8
	flags   uint16
	_       [63]uint32
}

func (s *quotaStatus) pointer() unsafe.Pointer { return unsafe.Pointer(s) }

func quotactlFd(fd int, command, id uint32, at unsafe.Pointer) error {
	_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), uintptr(command), uintptr(id), uintptr(at), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// attributes is struct fsxattr of linux/fs.h (ioctl_fsxattr(2)).
type attributes struct {
	flags, _, _ uint32
	project     uint32
	_           uint32
	_           [8]byte
}

// inherits: what is made below is of the same project (FS_XFLAG_PROJINHERIT).
const inherits = 0x200

// FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR, the same on amd64 and arm64.
const (
	getAttributes = 0x801c581f
	setAttributes = 0x401c5820
)

func attributesOf(fd int) (a attributes, err error) {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getAttributes, uintptr(unsafe.Pointer(&a))); e != 0 {
		return a, e
	}
	return a, nil
}

func (a attributes) set(fd int) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), setAttributes, uintptr(unsafe.Pointer(&a))); e != 0 {
		return e
	}
	return nil
}
