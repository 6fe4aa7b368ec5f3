package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter on one call as the kernel does.
func judge(t *testing.T, prog []unix.SockFilter, arch uint32, nr uint32, args ...uint64) uint32 {
	t.Helper()
	var data [16]uint32 // struct seccomp_data in words
	data[0], data[1] = nr, arch
	for i, a := range args {
		data[4+2*i], data[5+2*i] = uint32(a), uint32(a>>32)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		cond := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = data[in.K/4]
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond = acc >= in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
		if cond {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("fell off the end")
	return 0
}

// forbidden is what neither table may ever allow, with any arguments.
var forbidden = map[string]uintptr{
	"sendmsg": unix.SYS_SENDMSG, "sendmmsg": unix.SYS_SENDMMSG, "socket": unix.SYS_SOCKET, "socketpair": unix.SYS_SOCKETPAIR, "bind": unix.SYS_BIND, "connect": unix.SYS_CONNECT, "listen": unix.SYS_LISTEN, "accept": unix.SYS_ACCEPT, "accept4": unix.SYS_ACCEPT4,
	"ptrace": unix.SYS_PTRACE, "process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV, "pidfd_getfd": unix.SYS_PIDFD_GETFD, "process_madvise": unix.SYS_PROCESS_MADVISE, "kcmp": unix.SYS_KCMP,
	"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "userfaultfd": unix.SYS_USERFAULTFD, "io_uring_setup": unix.SYS_IO_URING_SETUP, "io_uring_enter": unix.SYS_IO_URING_ENTER, "io_uring_register": unix.SYS_IO_URING_REGISTER,
	"keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY,
	"mount": unix.SYS_MOUNT, "umount2": unix.SYS_UMOUNT2, "pivot_root": unix.SYS_PIVOT_ROOT, "chroot": unix.SYS_CHROOT, "open_tree": unix.SYS_OPEN_TREE, "move_mount": unix.SYS_MOVE_MOUNT, "fsopen": unix.SYS_FSOPEN, "fsmount": unix.SYS_FSMOUNT, "fsconfig": unix.SYS_FSCONFIG, "fspick": unix.SYS_FSPICK, "mount_setattr": unix.SYS_MOUNT_SETATTR,
	"open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT, "name_to_handle_at": unix.SYS_NAME_TO_HANDLE_AT, "setns": unix.SYS_SETNS, "unshare": unix.SYS_UNSHARE, "clone3": unix.SYS_CLONE3, "openat2": unix.SYS_OPENAT2, "fchmodat2": sysFchmodat2, "setxattr": unix.SYS_SETXATTR, "lsetxattr": unix.SYS_LSETXATTR, "fsetxattr": unix.SYS_FSETXATTR,
	"init_module": unix.SYS_INIT_MODULE, "finit_module": unix.SYS_FINIT_MODULE, "delete_module": unix.SYS_DELETE_MODULE, "kexec_load": unix.SYS_KEXEC_LOAD, "reboot": unix.SYS_REBOOT, "swapon": unix.SYS_SWAPON, "swapoff": unix.SYS_SWAPOFF,
	"acct": unix.SYS_ACCT, "quotactl": unix.SYS_QUOTACTL, "personality": unix.SYS_PERSONALITY, "syslog": unix.SYS_SYSLOG, "settimeofday": unix.SYS_SETTIMEOFDAY, "clock_settime": unix.SYS_CLOCK_SETTIME, "adjtimex": unix.SYS_ADJTIMEX,
	"move_pages": unix.SYS_MOVE_PAGES, "migrate_pages": unix.SYS_MIGRATE_PAGES, "mbind": unix.SYS_MBIND, "splice": unix.SYS_SPLICE, "vmsplice": unix.SYS_VMSPLICE, "tee": unix.SYS_TEE,
	"setuid": unix.SYS_SETUID, "setgid": unix.SYS_SETGID, "setresuid": unix.SYS_SETRESUID, "setresgid": unix.SYS_SETRESGID, "setgroups": unix.SYS_SETGROUPS, "capset": unix.SYS_CAPSET, "mknodat": unix.SYS_MKNODAT, "fanotify_init": unix.SYS_FANOTIFY_INIT,
	"shmget": unix.SYS_SHMGET, "msgget": unix.SYS_MSGGET, "semget": unix.SYS_SEMGET, "mq_open": unix.SYS_MQ_OPEN, "memfd_secret": 447, "an unknown one": 1000,
}

func tables(t *testing.T, f func(t *testing.T, prog []unix.SockFilter)) {
	for name, table := range map[string]*CallTable{"gate": GateCalls, "host": HostCalls} {
		t.Run(name, func(t *testing.T) {
			prog, err := CompileSeccomp(table)
			if err != nil {
				t.Fatal(err)
			}
			f(t, prog)
		})
	}
}

// TestSeccompTables runs the compiled filter on every call of the table, on
// every number, and on what must never be allowed.
func TestSeccompTables(t *testing.T) {
	tables(t, func(t *testing.T, prog []unix.SockFilter) {
		t.Logf("%d instructions", len(prog))
		for name, nr := range forbidden {
			for _, arg := range []uint64{0, 1, 1 << 32, 1<<64 - 1} {
				if v := judge(t, prog, seccompArch, uint32(nr), arg, arg, arg, arg, arg, arg); v == seccompAllow {
					t.Errorf("%s(%#x…) is allowed", name, arg)
				}
			}
		}
		for nr := uint32(0); nr < 600; nr++ {
			if v := judge(t, prog, unix.AUDIT_ARCH_I386, nr); v != seccompKill {
				t.Errorf("32-bit call %d: %#x", nr, v)
			}
			if v := judge(t, prog, seccompArch, nr|x32Bit); v != seccompKill {
				t.Errorf("x32 call %d: %#x", nr, v)
			}
		}
	})
}

// TestSeccompAgainstTable compares the compiled filter with the table, read
// the plain way, on every number and many arguments.
func TestSeccompAgainstTable(t *testing.T) {
	for name, table := range map[string]*CallTable{"gate": GateCalls, "host": HostCalls} {
		prog, err := CompileSeccomp(table)
		if err != nil {
			t.Fatal(err)
		}
		values := []uint64{0, 1, 2, 15, 0x1002, 0x5401, 0x5412, 0x3d0f00, 0x50f00, 1 << 32, 1<<32 | 0x5401, 1<<64 - 1}
		for nr := uint32(0); nr < 600; nr++ {
			for _, a := range values {
				for _, b := range values {
					args := [6]uint64{a, b, b, a, b, a}
					if got, want := judge(t, prog, seccompArch, nr, args[:]...), plain(table, nr, args); got != want {
						t.Fatalf("%s: call %d%v: %#x, the table says %#x", name, nr, args, got, want)
					}
				}
			}
		}
	}
}

// plain reads a table without compiling it.
func plain(table *CallTable, nr uint32, args [6]uint64) uint32 {
	for _, c := range table.Allow {
		if uint32(c.Nr) != nr {
			continue
		}
		for _, m := range c.When {
			ok := true
			for _, a := range m {
				v, mask := args[a.Index], uint64(0xffffffff)
				if a.Mask != 0 {
					mask = uint64(a.Mask)
				}
				ok = ok && v&mask == uint64(a.Value) && (!a.Wide || v>>32 == 0)
			}
			if ok {
				return seccompAllow
			}
		}
		if len(c.When) == 0 {
			return seccompAllow
		}
		return seccompEPERM
	}
	for _, m := range table.Missing {
		if uint32(m) == nr {
			return seccompNoSys
		}
	}
	return seccompEPERM
}

func TestSeccompArguments(t *testing.T) {
	const goThread, pthread = 0x50f00, 0x3d0f00 // runtime/os_linux.go; glibc's pthread_create
	for _, c := range []struct {
		what       string
		nr         uintptr
		args       []uint64
		gate, host bool
	}{
		{"thread of Go", unix.SYS_CLONE, []uint64{goThread}, true, true},
		{"thread of glibc", unix.SYS_CLONE, []uint64{pthread}, true, true},
		{"fork", unix.SYS_CLONE, []uint64{0x11}, false, true},
		{"fork of glibc", unix.SYS_CLONE, []uint64{0x1200011}, false, true},
		{"vfork of Go", unix.SYS_CLONE, []uint64{0x4111}, false, true},
		{"thread in a user namespace", unix.SYS_CLONE, []uint64{goThread | unix.CLONE_NEWUSER}, false, false},
		{"mount namespace", unix.SYS_CLONE, []uint64{0x11 | unix.CLONE_NEWNS}, false, false},
		{"cgroup namespace", unix.SYS_CLONE, []uint64{0x11 | unix.CLONE_NEWCGROUP}, false, false},
		{"network namespace, high bits set", unix.SYS_CLONE, []uint64{1<<63 | 0x11 | unix.CLONE_NEWNET}, false, false},
		{"sibling", unix.SYS_CLONE, []uint64{0x11 | unix.CLONE_PARENT}, false, false},
		{"send to the peer", unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 0, 0}, true, true},
		{"send to an address", unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 0x1000, 16}, false, false},
		{"send to a high address", unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 1 << 40, 16}, false, false},
		{"receive time-out", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_RCVTIMEO}, true, true},
		{"send buffer", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_SNDBUF}, false, false},
		{"receive time-out's number at another level", unix.SYS_SETSOCKOPT, []uint64{3, 6, unix.SO_RCVTIMEO}, false, false},
		{"is it a terminal", unix.SYS_IOCTL, []uint64{1, unix.TCGETS}, true, true},
		{"TIOCSTI", unix.SYS_IOCTL, []uint64{1, unix.TIOCSTI}, false, false},
		{"TIOCSTI with bit 32", unix.SYS_IOCTL, []uint64{1, unix.TIOCSTI | 1<<32}, false, false},
		{"TIOCLINUX", unix.SYS_IOCTL, []uint64{1, 0x541c}, false, false},
		{"own limits", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_NOFILE}, true, true},
		{"another's limits", unix.SYS_PRLIMIT64, []uint64{1, unix.RLIMIT_NOFILE}, false, false},
		{"owner of a descriptor", unix.SYS_FCNTL, []uint64{3, unix.F_SETOWN}, false, false},
		{"pipe size", unix.SYS_FCNTL, []uint64{3, unix.F_SETPIPE_SZ}, false, false},
		{"name", unix.SYS_PRCTL, []uint64{unix.PR_SET_NAME}, true, true},
		{"seccomp by prctl", unix.SYS_PRCTL, []uint64{unix.PR_SET_SECCOMP}, false, false},
		{"a filter of its own", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_FILTER, 0, 0x1000}, true, true},
		{"a filter with a listener", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 0x1000}, false, false},
		{"strict seccomp", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_STRICT, 0, 0}, false, false},
		{"ptracer", unix.SYS_PRCTL, []uint64{unix.PR_SET_PTRACER}, false, false},
		{"plain mode", unix.SYS_FCHMODAT, []uint64{3, 1, 0o1777}, true, true},
		{"setuid mode", unix.SYS_FCHMODAT, []uint64{3, 1, 0o4755}, false, false},
		{"setgid mode", unix.SYS_FCHMOD, []uint64{3, 0o2755}, false, false},
		{"create", unix.SYS_OPENAT, []uint64{3, 1, unix.O_CREAT | unix.O_WRONLY, 0o644}, true, true},
		{"create setuid", unix.SYS_OPENAT, []uint64{3, 1, unix.O_CREAT | unix.O_WRONLY, 0o4755}, false, false},
		{"create setuid without a name", unix.SYS_OPENAT, []uint64{3, 1, unix.O_TMPFILE | unix.O_WRONLY, 0o4755}, false, false},
		{"open, mode undefined", unix.SYS_OPENAT, []uint64{3, 1, unix.O_RDONLY | unix.O_DIRECTORY, 1<<64 - 1}, true, true},
		{"execve", unix.SYS_EXECVE, nil, false, true},
	} {
		for name, want := range map[string]bool{"gate": c.gate, "host": c.host} {
			table := GateCalls
			if name == "host" {
				table = HostCalls
			}
			prog, err := CompileSeccomp(table)
			if err != nil {
				t.Fatal(err)
			}
			if got := judge(t, prog, seccompArch, uint32(c.nr), c.args...) == seccompAllow; got != want {
				t.Errorf("%s: %s: allowed is %v", name, c.what, got)
			}
		}
	}
}

func TestSeccompRefusesDuplicates(t *testing.T) {
	for _, table := range []*CallTable{
		{Allow: anyArgs(1, 1)},
		{Allow: anyArgs(1), Missing: []uintptr{1}},
		{Allow: anyArgs(x32Bit)},
	} {
		if _, err := CompileSeccomp(table); err == nil {
			t.Errorf("%+v compiles", table)
		}
	}
}
