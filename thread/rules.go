package thread

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// Rules are the rights that are left to a function. The zero value lets it
// compute, and use descriptors that are open. A file named here must exist;
// a directory stands for everything beneath it, mounts included. Symbolic
// links are followed when Run is called.
type Rules struct {
	Read    []string // files that may be opened for reading, directories that may be listed
	Write   []string // files that may be opened for writing and truncated; in directories, created, renamed and removed. Not devices and sockets
	Execute []string // files that may be executed; with Calls: Processes. A dynamically linked program needs its linker here and its libraries in Read
	Connect []uint16 // TCP ports that may be connected to, on any address
	Bind    []uint16 // TCP ports that may be listened on; 0: one that the kernel chooses
	Calls   Calls    // groups of system calls beyond what computing and files need

	// Without names rights that may go unchecked where the kernel cannot check
	// them. Where it can, they are checked all the same.
	Without Right
}

// Calls is a set of groups of system calls.
type Calls uint32

const (
	// Processes: fork, execute what Rules let it, wait, send signals. What it
	// starts has its rights, not the program's.
	Processes Calls = 1 << iota
	// Sockets: sockets of all families, not only TCP ones to the ports that
	// Rules name. Landlock checks TCP ports and, from ABI 6 on, abstract Unix
	// sockets; nobody checks UDP and Unix sockets with a path.
	Sockets
	// Metadata: change modes, owners, times and extended attributes, of any
	// file whose attributes the process may change: Landlock does not check it.
	Metadata

	allCalls = 1<<iota - 1
)

// Right is a set of what Landlock does not check before a certain version.
type Right uint32

const (
	TCPPorts        Right = 1 << iota // Linux 6.7 (ABI 4): needed by Connect, Bind and Sockets
	AbstractSockets                   // Linux 6.12 (ABI 6): needed by Sockets
	Signals                           // Linux 6.12 (ABI 6), to processes that it did not start: needed by Processes

	allRights = 1<<iota - 1
)

// rights is what is known of each Right.
var rights = []struct {
	right       Right
	name, linux string
	abi         int
}{
	{TCPPorts, "TCP ports (thread.TCPPorts)", "6.7", 4},
	{AbstractSockets, "abstract Unix sockets (thread.AbstractSockets)", "6.12", 6},
	{Signals, "signals to other processes (thread.Signals)", "6.12", 6},
}

// A MissingError says what the kernel cannot check although Rules need it.
// errors.Is(err, errors.ErrUnsupported) is true.
type MissingError struct {
	Right Right  // 0: Landlock as a whole
	Linux string // the first version that has it
	name  string
	cause error
}

func (e *MissingError) Error() string {
	if e.Right == 0 {
		return fmt.Sprintf("secure thread: this kernel has no Landlock, or it is switched off (%v): Linux %s with `landlock` among the LSMs is needed", e.cause, e.Linux)
	}
	return fmt.Sprintf("secure thread: this kernel cannot check %s, which takes Linux %s: leave out what needs it, or name it in Rules.Without", e.name, e.Linux)
}

// Is reports whether target is errors.ErrUnsupported.
func (e *MissingError) Is(target error) bool { return target == errors.ErrUnsupported }

// Unwrap returns the kernel's answer, if there was one.
func (e *MissingError) Unwrap() error { return e.cause }

// needs are the rights that r relies on.
func (r *Rules) needs() Right {
	var n Right
	if len(r.Connect)+len(r.Bind) > 0 || r.Calls&Sockets != 0 {
		n |= TCPPorts
	}
	if r.Calls&Sockets != 0 {
		n |= AbstractSockets
	}
	if r.Calls&Processes != 0 {
		n |= Signals
	}
	return n
}

// check compares r with what a kernel of the given ABI can do.
func (r *Rules) check(abi int) error {
	if r.Calls&^allCalls != 0 || r.Without&^allRights != 0 {
		return fmt.Errorf("secure thread: Calls %#x or Without %#x have bits that mean nothing", uint32(r.Calls), uint32(r.Without))
	}
	if slices.Contains(r.Connect, 0) {
		return errors.New("secure thread: no connection is made to port 0")
	}
	if len(r.Execute) > 0 && r.Calls&Processes == 0 {
		return errors.New("secure thread: Execute needs Calls: Processes")
	}
	for _, m := range rights {
		if r.needs()&m.right != 0 && abi < m.abi && r.Without&m.right == 0 {
			return &MissingError{Right: m.right, Linux: m.linux, name: m.name}
		}
	}
	return nil
}

// Rights of Landlock.
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeRights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	executeRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE // the kernel reads it for its user
)

// ruleset makes the Landlock ruleset of r, which the caller closes.
func (r *Rules) ruleset(abi int) (_ confine.Ruleset, err error) {
	files, net, scoped := confine.Handled(abi)
	set, err := confine.NewRuleset(files, net, scoped&r.scoped())
	if err != nil {
		return -1, fmt.Errorf("secure thread: landlock ruleset: %w", err)
	}
	defer func() {
		if err != nil {
			set.Close()
		}
	}()
	for _, g := range []struct {
		paths  []string
		rights uint64
	}{{r.Read, readRights}, {r.Write, writeRights}, {r.Execute, executeRights}} {
		for _, p := range g.paths {
			if err := allow(set, p, g.rights&files); err != nil {
				return -1, err
			}
		}
	}
	if net == 0 {
		return set, nil
	}
	for _, g := range []struct {
		ports  []uint16
		rights uint64
	}{{r.Connect, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}, {r.Bind, unix.LANDLOCK_ACCESS_NET_BIND_TCP}} {
		for _, p := range g.ports {
			if err := set.AllowPort(p, g.rights); err != nil {
				return -1, fmt.Errorf("secure thread: rule for port %d: %w", p, err)
			}
		}
	}
	return set, nil
}

// scoped is what of other processes is to be out of reach. What the allow-list
// refuses anyway is left out: before Linux 6.14 the scope of signals held
// between threads of one process, too, and Go's runtime sends such signals.
func (r *Rules) scoped() (s uint64) {
	if r.Calls&Processes != 0 {
		s |= unix.LANDLOCK_SCOPE_SIGNAL
	}
	if r.Calls&Sockets != 0 {
		s |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	return s
}

// allow grants rights on one path. A file gets what makes sense for a file.
func allow(set confine.Ruleset, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("secure thread: rule for %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("secure thread: rule for %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= confine.FileRights
	}
	if err := set.AllowBeneath(fd, rights); err != nil {
		return fmt.Errorf("secure thread: rule for %s: %w", path, err)
	}
	return nil
}
