package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Sandbox says how to start a program in a protection domain of its own.
// It is a blueprint: Start may be called again after the process has ended.
//
// The process gets user and group ID, mount, PID, IPC, UTS, network and
// cgroup namespaces of its own, a root with nothing but what is listed, no
// capabilities, no_new_privs, Landlock, a seccomp allow-list, limits, and the
// descriptors in Files and no others. It is process 1 of its PID namespace:
// when it ends, whatever it started ends.
type Sandbox struct {
	Name    string   // host name, and the subject of errors
	Program string   // absolute path on the host; the same inside
	Digest  []byte   // SHA-256 that the program must have; empty: any. What was hashed is what runs
	Pins    []Pin    // with Digest: other files that must be as they were
	Copies  *Copies  // keeps the copy that is hashed and executed for the next start; nil: none
	Args    []string // after argv[0]
	Env     []string // the whole environment
	Host    bool     // show the host's programs and libraries, read-only, and a /proc with this domain's processes only
	Binds   []Bind
	Tmp     uint64    // bytes of /tmp; at least 64 KiB, less is raised
	Disk    DiskQuota // of what Binds lets it write; Project 0: nothing is done about it
	UID     uint32    // not 0
	GID     uint32    // not 0
	Limits  Limits
	Cgroup  *Cgroup // where the process is born; nil: where the caller is
	Network Network
	Files   []*os.File // descriptors 0, 1, 2, …; nil: /dev/null
	Without Defence    // defences to leave out: attack tests compare with and without

	image  *os.File // sealed copy of the program, if Digest is set
	notify *os.File // the socket of Network.Notify
	tmp    *os.File // Process.Tmp
}

// Defence is a set of parts of a Sandbox.
type Defence uint32

const (
	WithSeccomp Defence = 1 << iota
	WithLandlock
	WithNamespaces // PID, IPC, UTS, network, cgroup
	WithRoot       // a root of its own
	WithIdentity   // its own user ID and no capabilities
	WithNoNewPrivs
	WithLimits
	withAll = 1<<iota - 1
)

// Limits bound what a sandboxed process uses. 0: the default.
type Limits struct {
	Processes uint32 // processes and threads of its user ID; default 256
	Files     uint32 // open descriptors; default 1,024
	FileSize  uint64 // bytes of one file that it writes; default 1 GiB
	Locked    uint64 // bytes of locked memory; default DefaultLocked
}

const (
	minTmp           = 64 << 10
	defaultProcesses = 256
	defaultFiles     = 1024
	defaultFileSize  = 1 << 30
	maxProgram       = 512 << 20 // bytes of a program that is pinned by its digest
)

// DefaultLocked is how much memory of a process may be locked, bytes: what
// is never swapped.
const DefaultLocked = 64 << 10

// ErrDigest: a program is not the one that was pinned.
var ErrDigest = errors.New("the program's SHA-256 is not the pinned one: if it was changed on purpose, state the new one as `digest`, or pin the system again with `ward compile --pin`")

// A Process is a started sandbox.
type Process struct {
	PID    int      // in the caller's PID namespace
	Pidfd  *os.File // becomes readable when the process ends
	Notify *os.File // socket for what it says of itself, if it was asked for; does not block
	Tmp    *os.File // its /tmp, for SpaceOf only (O_PATH): what is in there is freed when this is closed, too; nil without WithRoot
}

// Start sets the sandbox up and executes its program. When it returns without
// an error the program runs. Errors name the step that failed.
//
// The caller must be root in the initial user namespace and have no thread
// that depends on being able to run Go code while a child is set up (about a
// millisecond): the calling thread sleeps meanwhile.
func (s *Sandbox) Start() (*Process, error) {
	if s.UID == 0 || s.GID == 0 {
		return nil, fmt.Errorf("start %s: user and group ID 0 are not for domains", s.Name)
	}
	one := *s
	p, err := one.start()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return p, nil
}

func (s *Sandbox) start() (*Process, error) {
	release, err := reserve(len(s.Files))
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.checkPins(); err != nil {
		return nil, err
	}
	if len(s.Digest) > 0 {
		m, err := s.Copies.of(s.Program, s.Digest)
		if err != nil {
			return nil, err
		}
		if s.Copies == nil {
			defer m.Close()
		}
		s.image = m
	}
	return s.launch()
}

// launch executes the program, or the copy of it that was made.
func (s *Sandbox) launch() (*Process, error) {
	b := &builder{Sandbox: s, program: newProgram(), empty: -1}
	defer b.close()
	if b.has(WithRoot) {
		var err error
		if b.empty, err = emptyMounts(); err != nil {
			s.discard()
			return nil, err
		}
	}
	if err := b.build(); err != nil {
		s.discard()
		return nil, err
	}
	cgroup := -1
	if s.Cgroup != nil {
		cgroup = int(s.Cgroup.dir.Fd())
	}
	flags := uint64(unix.CLONE_FILES)
	if b.has(WithRoot) && b.empty < 0 {
		flags |= unix.CLONE_NEWNS
	}
	if b.has(WithNamespaces) {
		flags |= unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		if !s.Network.host() && len(s.Network.Sockets) == 0 {
			flags |= unix.CLONE_NEWNET
		}
	}
	pid, pidfd, err := b.program.run(flags, cgroup)
	if err != nil {
		s.discard()
		return nil, s.explain(err)
	}
	return &Process{PID: pid, Pidfd: os.NewFile(uintptr(keepHigh(pidfd)), "pidfd of "+s.Name), Notify: s.notify, Tmp: s.tmp}, nil
}

// discard closes what was to be the process's.
func (s *Sandbox) discard() {
	for _, f := range []*os.File{s.notify, s.tmp} {
		if f != nil {
			f.Close()
		}
	}
}

// sealedCopy copies a program into a sealed memory file and compares its hash:
// what was hashed cannot be changed before it is executed. Shared libraries
// and the interpreters of scripts are not covered.
func sealedCopy(name string, digest []byte) (*os.File, error) {
	fd, err := openTrusted(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	src, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	defer src.Close()
	m, err := unix.MemfdCreate(name[max(0, len(name)-200):], unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	dst := os.NewFile(uintptr(m), name)
	if n, err := io.Copy(dst, io.LimitReader(src, maxProgram+1)); err != nil || n > maxProgram {
		dst.Close()
		if err == nil {
			err = fmt.Errorf("larger than %d bytes", maxProgram)
		}
		return nil, fmt.Errorf("copy %s: %w", name, err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(dst.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		dst.Close()
		return nil, fmt.Errorf("seal copy of %s: %w", name, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(dst, 0, maxProgram)); err != nil {
		dst.Close()
		return nil, fmt.Errorf("hash %s: %w", name, err)
	}
	if sum := h.Sum(nil); string(sum) != string(digest) {
		dst.Close()
		return nil, fmt.Errorf("%s: %w: it is %x, pinned is %x", name, ErrDigest, sum, digest)
	}
	if err := isELF(dst); err != nil {
		dst.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Executable by the domain's user: it is reached by descriptor only.
	if err := dst.Chmod(0o555); err != nil {
		dst.Close()
		return nil, fmt.Errorf("chmod copy of %s: %w", name, err)
	}
	return dst, nil
}
