package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits of which the kernel tells nobody but the program itself: RLIMIT_NOFILE
// (EMFILE), RLIMIT_FSIZE (EFBIG), the size of a tmpfs (ENOSPC). Who wants to know
// looks: at how many descriptors a process has open, whether a signal of a
// thread says that a write was refused, and how much is free. None of this
// stops the process that is looked at, nor costs it anything.

// Processes lists the processes that are in a cgroup.
func (c *Cgroup) Processes() ([]int, error) {
	path := filepath.Join(c.Path, "cgroup.procs")
	var buf [4096]byte
	text, err := readSmall(path, buf[:])
	if err == nil && len(text) > len(buf)/2 { // there are hundreds, perhaps more than that
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var pids []int
	for word := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(word)); err == nil && pid > 0 { // 0: of another PID namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// OpenFiles is how many descriptors a process has open. Since Linux 6.2 that is
// the size of its directory (proc_fd_getattr, fs/proc/fd.c), which anybody may ask
// for; before, they are listed, which takes CAP_DAC_READ_SEARCH, and a while.
func OpenFiles(pid int) (uint64, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	if st.Size > 0 {
		return uint64(st.Size), nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for n := uint64(0); ; {
		names, err := f.Readdirnames(listed) // there may be a million
		n += uint64(len(names))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// listed is how many names of a directory are read at a time.
const listed = 1024

// Threads lists the threads of a process.
func Threads(pid int) ([]int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var tids []int
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// fileSizeSignal is the bit of SIGXFSZ in a mask of signals.
const fileSizeSignal = uint64(1) << (unix.SIGXFSZ - 1)

// FileSizeRefused reports whether a thread was refused to write beyond the
// greatest size of a file. The kernel says so with a signal to the thread
// (generic_write_check_limits, fs/read_write.c). Sandboxed processes begin with
// that blocked, so it waits until the thread ends, or takes it: field 31 of its
// stat, signals that wait (proc_pid_stat(5); a sixth of the cost of its status).
func FileSizeRefused(pid, tid int) (bool, error) {
	path := fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid)
	var buf [1024]byte
	text, err := readSmall(path, buf[:])
	if err != nil {
		return false, err
	}
	// The name, in parentheses, may have any bytes in it. The third field comes after it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 29 {
		return false, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	pending, err := strconv.ParseUint(string(fields[28]), 10, 64)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return pending&fileSizeSignal != 0, nil
}

// readSmall reads a file of the kernel's of which no more than buf is of interest.
func readSmall(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			return buf[:n], nil
		case unix.EINTR:
		default:
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// Space is how much a file system may hold, and how much of that is free.
type Space struct {
	Bytes, BytesFree uint64
	Files, FilesFree uint64
}

// SpaceOf is that of the file system of f, which may be open for its path only.
func SpaceOf(f *os.File) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return Space{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return spaceOf(&st), nil
}

func spaceOf(st *unix.Statfs_t) Space {
	return Space{Bytes: st.Blocks * uint64(st.Bsize), BytesFree: st.Bfree * uint64(st.Bsize), Files: st.Files, FilesFree: st.Ffree}
}

// openTmp opens the /tmp of a root in the making, for its path only.
func openTmp(top int) (*os.File, error) {
	fd, err := unix.Openat(top, "tmp", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /tmp: %w", err)
	}
	return os.NewFile(uintptr(keepHigh(fd)), "/tmp of a domain"), nil
}

// ErrHidden: a process does not let anybody look at its root.
var ErrHidden = errors.New("the process has made itself not dumpable")

// OpenTmp opens the /tmp of a sandboxed process for its path only, as
// Process.Tmp is: for who took the process over. Who may look at the root of a
// process of another user is who may trace it (proc_pid_get_link, fs/proc/base.c),
// which the caller need not: a child of its does it as that user.
//
// The caller makes sure that pid is still the process that it means.
func OpenTmp(pid int, uid, gid uint32) (*os.File, error) {
	var fd uintptr
	p := newProgram()
	p.do("setresgid", unix.SYS_SETRESGID, uint(gid), uint(gid), uint(gid))
	p.do("setresuid", unix.SYS_SETRESUID, uint(uid), uint(uid), uint(uid))
	p.store(p.do("open /tmp", unix.SYS_OPENAT, unix.AT_FDCWD, fmt.Sprintf("/proc/%d/root/tmp", pid),
		unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0), &fd)
	p.do("exit", unix.SYS_EXIT_GROUP, 0)
	// What it opens is this process's.
	_, pidfd, err := p.run(unix.CLONE_FILES, -1)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (%w)", ErrHidden, err)
	}
	if err != nil {
		return nil, fmt.Errorf("/tmp of process %d: %w", pid, err)
	}
	reap(pidfd)
	unix.Close(pidfd)
	return os.NewFile(uintptr(keepHigh(int(fd))), "/tmp of a domain"), nil
}
