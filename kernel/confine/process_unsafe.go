package confine

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Protection is what a process keeps for itself; all else it gives up.
type Protection struct {
	Effective Capabilities // that it uses at any time
	Permitted Capabilities // that it may raise by Raise; it and what it executes can get no others. Effective are in it anyway
	Table     *Table       // system calls; nil: no filter
	Read      []string     // with Landlock: trees it may read
	Write     []string     // with Landlock: trees in which it may also write, make and remove
	Landlock  bool
}

// Apply takes from all threads of the process what p does not list: for good,
// and with no_new_privs for what the process executes. A path of Read or Write
// that does not exist grants nothing. Capabilities that the process does not
// have are not given to it.
//
// Preconditions: a program without cgo (syscall.AllThreadsSyscall), with
// CAP_SETPCAP; one call per process.
func (p *Protection) Apply() error {
	all := p.Permitted | p.Effective
	for c := range lastCapability() + 1 {
		if all&(1<<c) == 0 {
			if err := everywhere(fmt.Sprintf("drop capability %s", CapabilityName(c)), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil {
				return err
			}
		}
	}
	if err := everywhere("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	if p.Landlock {
		if err := p.landlock(); err != nil {
			return err
		}
	}
	have, err := permitted()
	if err != nil {
		return err
	}
	head, data := capabilitySets(p.Effective&have, all&have)
	err = everywhere("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(head)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(head)
	runtime.KeepAlive(data)
	if err != nil || p.Table == nil {
		return err
	}
	prog, err := Compile(p.Table)
	if err != nil {
		return err
	}
	return Install(prog, Process)
}

// landlock puts all threads under a ruleset: each under one of its own, with
// the same rules, as kernels before 7.0 have no call for all of them.
func (p *Protection) landlock() error {
	abi, err := LandlockABI()
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	files, _, _ := Handled(abi)
	set, err := NewRuleset(files, 0, 0)
	if err != nil {
		return fmt.Errorf("landlock ruleset: %w", err)
	}
	defer set.Close()
	const read = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	const write = read | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK
	for _, g := range []struct {
		paths  []string
		rights uint64
	}{{p.Read, read}, {p.Write, write}} {
		for _, path := range g.paths {
			if err := set.allowTree(path, g.rights&files); err != nil {
				return fmt.Errorf("landlock rule for %s: %w", path, err)
			}
		}
	}
	return everywhere("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(set), 0, 0)
}

func (r Ruleset) allowTree(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= FileRights
	}
	return r.AllowBeneath(fd, rights)
}

// everywhere makes a system call on every thread of the process.
func everywhere(what string, nr, a, b, c uintptr) error {
	if _, _, e := syscall.AllThreadsSyscall6(nr, a, b, c, 0, 0, 0); e == syscall.ENOTSUP { // of Go's runtime, which does not know the threads of C
		return fmt.Errorf("%s: this program was built with cgo, with which no right can be taken from all threads: build it with CGO_ENABLED=0, as `make build` does", what)
	} else if e != 0 {
		return fmt.Errorf("%s: %w", what, e)
	}
	return nil
}

// Raise calls f on a thread on which all permitted capabilities are effective,
// and takes them back afterwards: for a process that needs them rarely.
func Raise(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	head, data := capabilitySets(0, 0)
	if err := unix.Capget(head, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	before := *data
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(head, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	err := f()
	if e := unix.Capset(head, &before[0]); e != nil {
		panic("confine: capabilities cannot be given up: " + e.Error()) // the thread would keep them
	}
	return err
}

// Capabilities is a set of capabilities(7), by their numbers.
type Capabilities uint64

// Of makes a set.
func Of(caps ...int) (s Capabilities) {
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// String lists the names, in the order of the numbers.
func (s Capabilities) String() string {
	var names []string
	for c := range 64 {
		if s&(1<<c) != 0 {
			names = append(names, CapabilityName(c))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// capabilityNames are those of linux/capability.h, in order.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
	SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
	WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// CapabilityName is the name of a capability without its prefix.
func CapabilityName(c int) string {
	if c < len(capabilityNames) {
		return capabilityNames[c]
	}
	return fmt.Sprintf("%d", c)
}

// lastCapability is the highest one that the kernel knows.
func lastCapability() int {
	last := 0
	for c := range 64 {
		if r, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(c), 0); e != 0 {
			break
		} else if r <= 1 {
			last = c
		}
	}
	return last
}

// permitted is the set of the calling thread.
func permitted() (Capabilities, error) {
	head, data := capabilitySets(0, 0)
	if err := unix.Capget(head, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return Capabilities(data[0].Permitted) | Capabilities(data[1].Permitted)<<32, nil
}

func capabilitySets(effective, permitted Capabilities) (*unix.CapUserHeader, *[2]unix.CapUserData) {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &[2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32)},
	}
}
