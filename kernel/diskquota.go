package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ward/image"
)

// A DiskQuota bounds what a domain holds on disk: all files and directories of
// the host that it may write become of one project of their file system
// (project quotas of ext4 and XFS), and the project has a limit. What is made
// below a directory of a project is of the project; what is of another one, or
// of none, cannot be linked or moved there (EXDEV). So the limit holds for all
// that the domain ever makes, whoever it belongs to.
//
// The limit stays when the domain ends: what it wrote is still there. Who owns
// a file may give it to another project (ioctl_fsxattr(2)); of domains the
// allow-list of system calls refuses it.
type DiskQuota struct {
	Project uint32 // number of the project, not 0
	Owner   string // whom directories are marked for: two domains never share a project
	Bytes   uint64 // 0: no limit, and one that the project has is lifted
}

// diskInode is for how many bytes of its quota a domain may have one file, and
// diskInodes how many it may have besides.
const (
	diskInode  = 4 << 10
	diskInodes = 64
)

// ErrNoDiskQuota is what errors.Is finds in an error that says that what a
// domain holds on a file system cannot be bounded.
var ErrNoDiskQuota = errors.New("what a domain holds there cannot be bounded")

// diskMark is the extended attribute of a directory, or file, all that is below
// which is of its owner's project. Only who has CAP_SYS_ADMIN in the first user
// namespace may read or write it (xattr(7)).
const diskMark = "trusted.ward.disk"

// CanBoundDisk reports whether this kernel has project quotas. Whether a file
// system has is another question: CheckDisk.
func CanBoundDisk() error {
	// Of no descriptor, a kernel that has the call says EBADF.
	if err := quotactlFd(-1, quotaState, 0, nil); err != unix.EBADF {
		return fmt.Errorf("quotactl_fd: %w", err)
	}
	return nil
}

// CheckDisk reports whether what is below a path of the host can be bounded, as
// far as one knows before a domain starts. What does not exist is not its concern.
func CheckDisk(path string) error {
	fd, err := openTrusted(path)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if err := enforced(fd); err != nil {
		return fmt.Errorf("quota of disk: %s: %w", path, err)
	}
	return nil
}

// enforced reports a file system that bounds no projects. fd may be O_PATH.
func enforced(fd int) error {
	const remedy = "take ext4 (made with `-O quota,project`) or XFS, mounted with `prjquota`, or leave `disk` out"
	if err := CanBoundDisk(); err != nil {
		return fmt.Errorf("%w: this kernel has no project quotas (CONFIG_QUOTACTL, Linux 5.14; %w): leave `disk` out", ErrNoDiskQuota, err)
	}
	var state quotaStatus
	state.version = 1
	switch err := quotactlFd(fd, quotaState, 0, state.pointer()); {
	case err == unix.ENOSYS || err == unix.EOPNOTSUPP || err == unix.EINVAL || err == unix.ESRCH:
		return fmt.Errorf("%w: its file system (%s) counts no projects: %s", ErrNoDiskQuota, fsName(fd), remedy)
	case err != nil:
		return fmt.Errorf("%w: whether its file system (%s) bounds projects: %w", ErrNoDiskQuota, fsName(fd), err)
	case state.flags&projectsCounted == 0 || state.flags&projectsBounded == 0:
		return fmt.Errorf("%w: its file system (%s) counts what projects hold, at most, and does not bound it: mount it with `prjquota`, or leave `disk` out", ErrNoDiskQuota, fsName(fd))
	}
	return nil
}

// fsName is a file system as mount(8) names it, else its number (statfs(2)).
func fsName(fd int) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "unknown"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS", unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.RAMFS_MAGIC: "ramfs", unix.NFS_SUPER_MAGIC: "NFS"}
	if name := names[int64(st.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("type %#x", st.Type)
}

// setLimit bounds the project on the file system of fd.
func (q *DiskQuota) setLimit(fd int) error {
	files := uint64(0)
	if q.Bytes > 0 {
		files = q.Bytes/diskInode + diskInodes
	}
	d := quotaLimits{spaceHard: q.Bytes / quotaBlock, filesHard: files, valid: limitsValid}
	if err := quotactlFd(fd, quotaSet, q.Project, d.pointer()); err != nil {
		return fmt.Errorf("set the limit of project %d: %w", q.Project, err)
	}
	return nil
}

// A DiskUse is what a project holds, and may hold.
type DiskUse struct {
	Bytes, Files           uint64
	LimitBytes, LimitFiles uint64 // 0: no limit
}

// DiskUseOf asks the file system of a path what a project holds. It takes CAP_SYS_ADMIN.
func DiskUseOf(path string, project uint32) (DiskUse, error) {
	fd, err := openTrusted(path)
	if err != nil {
		return DiskUse{}, err
	}
	defer unix.Close(fd)
	var d quotaLimits
	if err := quotactlFd(fd, quotaGet, project, d.pointer()); err != nil {
		return DiskUse{}, fmt.Errorf("%s: what project %d holds: %w", path, project, err)
	}
	return DiskUse{Bytes: d.space, Files: d.files, LimitBytes: d.spaceHard * quotaBlock, LimitFiles: d.filesHard}, nil
}

// readable opens what an O_PATH descriptor stands for, a directory or a regular
// file, so that its attributes can be read and changed.
func readable(fd int, dir bool) (int, error) {
	if dir {
		return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// ofWard reports whether a project is one of Ward's.
func ofWard(project uint32) bool {
	return project >= image.FirstProject && project < 2*image.FirstProject
}
