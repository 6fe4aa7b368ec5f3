//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	// What is typed into the terminal that is its output. It makes the terminal
	// its own first, as a session leader may.
	order("tty", func(a []string) (string, error) {
		if _, err := call(unix.SYS_IOCTL, 1, unix.TIOCSCTTY, 0); err != nil {
			return "", err
		}
		b := byte('x')
		return only(unix.SYS_IOCTL, 1, uintptr(number(a[0])), at(&b))
	})
	order("ttydirect", func(a []string) (string, error) {
		b := byte('x')
		return only(unix.SYS_IOCTL, 1, uintptr(number(a[0])), at(&b))
	})
	order("ttyowner", func([]string) (string, error) { return only(unix.SYS_IOCTL, 1, unix.TIOCSCTTY, 0) })
	order("ttylinux", func([]string) (string, error) {
		mode := byte(6) // TIOCL_GETSHIFTSTATE: a console answers it, another terminal has no such command
		_, err := call(unix.SYS_IOCTL, 1, 0x541c, at(&mode))
		return beyond(err, unix.ENOTTY)
	})
	order("ttydiscipline", func([]string) (string, error) {
		n := int32(0)                                         // N_TTY
		return only(unix.SYS_IOCTL, 1, unix.TIOCSETD, at(&n)) // other numbers load modules
	})
	order("iouring", func([]string) (string, error) {
		var params [15]uint64
		return only(unix.SYS_IO_URING_SETUP, 1, at(&params))
	})
	order("bpfmap", func([]string) (string, error) {
		attr := [4]uint32{2, 4, 4, 1} // an array of one value
		return only(unix.SYS_BPF, 0, at(&attr), unsafe.Sizeof(attr))
	})
	order("bpfprogram", func([]string) (string, error) {
		code := [2]uint64{0xb7, 0x95} // r0 = 0; exit
		attr := struct {
			kind, count        uint32
			code, license, log uint64
		}{1, 2, uint64(at(&code)), uint64(text("GPL")), 0}
		return only(unix.SYS_BPF, unix.BPF_PROG_LOAD, at(&attr), unsafe.Sizeof(attr))
	})
	order("perf", func([]string) (string, error) {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
		attr.Size = uint32(unsafe.Sizeof(attr))
		_, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
		return "", err
	})
	order("userfaultfd", func([]string) (string, error) {
		return only(unix.SYS_USERFAULTFD, 1) // UFFD_USER_MODE_ONLY
	})
	order("addkey", func([]string) (string, error) {
		_, err := unix.AddKey("user", "hostile", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return "", err
	})
	order("userkeyring", func([]string) (string, error) {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
		return "", err
	})
	order("requestkey", func([]string) (string, error) {
		_, err := unix.RequestKey("user", "hostile-none", "", 0)
		return beyond(err, unix.ENOKEY, unix.ENOENT) // there is no such key, or not even the program that root would run
	})
	order("personality", func([]string) (string, error) {
		return only(unix.SYS_PERSONALITY, 0x0400000) // READ_IMPLIES_EXEC
	})
	// These would change the whole machine: none is made so that it could.
	order("reboot", func([]string) (string, error) {
		_, err := call(unix.SYS_REBOOT, 0, 0, 0, 0) // no magic numbers
		return beyond(err, unix.EINVAL)
	})
	order("kexec", func([]string) (string, error) {
		_, err := call(unix.SYS_KEXEC_LOAD, 0, 0, 0, ^uintptr(0)) // no such flags
		return beyond(err, unix.EINVAL)
	})
	order("module", func([]string) (string, error) {
		_, err := call(unix.SYS_DELETE_MODULE, text("ward-hostile-none"), unix.O_NONBLOCK)
		return beyond(err, unix.ENOENT)
	})
	order("loadmodule", func([]string) (string, error) {
		_, err := call(unix.SYS_FINIT_MODULE, ^uintptr(0), text(""), 0)
		return beyond(err, unix.EBADF)
	})
	order("swapon", func([]string) (string, error) {
		_, err := call(unix.SYS_SWAPON, text("/nonexistent/hostile"), 0)
		return beyond(err, unix.ENOENT)
	})
	order("acct", func([]string) (string, error) {
		_, err := call(unix.SYS_ACCT, text("/nonexistent/hostile"))
		return beyond(err, unix.ENOENT)
	})
	order("quotactl", func([]string) (string, error) {
		_, err := call(unix.SYS_QUOTACTL, 0x800001<<8, text("/nonexistent/hostile"), 0, 0) // Q_SYNC of one device
		return beyond(err, unix.ENOENT)
	})
	order("settime", func([]string) (string, error) {
		var zone [2]int32
		if _, err := call(unix.SYS_GETTIMEOFDAY, 0, at(&zone)); err != nil {
			return "", err
		}
		if zone[0] != 0 {
			return "", errors.New("the kernel has a time zone: setting it, even to what it is, may turn the clock")
		}
		return only(unix.SYS_SETTIMEOFDAY, 0, at(&zone)) // the time zone, to what it is
	})
	order("adjtime", func([]string) (string, error) {
		var x unix.Timex
		if _, err := unix.Adjtimex(&x); err != nil {
			return "", err
		}
		x.Modes = 4 // ADJ_MAXERROR, to what it is
		_, err := unix.Adjtimex(&x)
		return "", err
	})
	order("syslog", func([]string) (string, error) {
		b := make([]byte, 64)
		n, err := unix.Klogctl(3, b)
		return fmt.Sprint(n, " bytes"), err
	})
	order("vhangup", func([]string) (string, error) { return only(unix.SYS_VHANGUP) })
	order("splice", func([]string) (string, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		defer r.Close()
		defer w.Close()
		f, err := os.Open(os.Args[0])
		if err != nil {
			return "", err
		}
		return only(unix.SYS_SPLICE, f.Fd(), 0, w.Fd(), 0, 1, 0)
	})
	order("vmsplice", func([]string) (string, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		defer r.Close()
		defer w.Close()
		v := unix.Iovec{Base: &secret[0], Len: 1}
		return only(unix.SYS_VMSPLICE, w.Fd(), at(&v), 1, 0)
	})
	order("remappages", func([]string) (string, error) {
		b, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		if err != nil {
			return "", err
		}
		return only(unix.SYS_REMAP_FILE_PAGES, uintptr(unsafe.Pointer(&b[0])), 4096, 0, 1, 0)
	})
	order("mempolicy", func([]string) (string, error) { return only(unix.SYS_SET_MEMPOLICY, 0, 0, 0) })
	order("secretmemory", func([]string) (string, error) {
		_, err := call(447, 0) // memfd_secret: memory that the kernel itself does not map, and cannot swap
		return "", err
	})
	order("notifyfilter", func([]string) (string, error) {
		return filterOf(0x7fff0000, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	})
	// A filter of its own that allows everything, and then what was forbidden.
	order("allowall", func([]string) (string, error) {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return "", err
		}
		if _, err := filterOf(0x7fff0000, 0); err != nil {
			return "", fmt.Errorf("filter: %w", err)
		}
		return only(unix.SYS_USERFAULTFD, 1)
	})
	order("int80", func([]string) (string, error) {
		if n := call32(20); n > 0 { // getpid
			return fmt.Sprint("32-bit getpid: ", n), nil
		}
		return "", errors.New("no answer")
	})
	order("x32", func([]string) (string, error) { return only(unix.SYS_GETPID | 0x40000000) })
	order("syscalluserdispatch", func([]string) (string, error) {
		return only(unix.SYS_PRCTL, 59, 0, 0, 0, 0)
	})
}

// filterOf installs a seccomp filter that gives one answer to everything.
func filterOf(answer uint32, flags uintptr) (string, error) {
	code := unix.SockFilter{Code: 6, K: answer} // BPF_RET
	prog := unix.SockFprog{Len: 1, Filter: &code}
	kept = append(kept, &code)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", err
	}
	return only(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, at(&prog))
}

func init() {
	order("mergeable", func([]string) (string, error) {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return "", err
		}
		return "", unix.Madvise(b, unix.MADV_MERGEABLE)
	})
	order("prctlmm", func([]string) (string, error) {
		// PR_SET_MM_BRK to 0: refused as an address once the rights are judged.
		_, err := call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_BRK, 0, 0, 0)
		return beyond(err, unix.EINVAL)
	})
}
