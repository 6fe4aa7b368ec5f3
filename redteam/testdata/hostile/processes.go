//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// secret is what a victim has in its memory.
var secret = [16]byte{'s', 'e', 'c', 'r', 'e', 't'}

func init() {
	order("victim", victim)
	order("ptrace", func(a []string) (string, error) {
		pid := number(a[0])
		if err := unix.PtraceAttach(pid); err != nil {
			return "", err
		}
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
			return "", err
		}
		return "attached", unix.PtraceDetach(pid)
	})
	order("seize", func(a []string) (string, error) { return "", unix.PtraceSeize(number(a[0])) })
	order("traceme", func([]string) (string, error) {
		// A traced thread stops at each signal, and nobody here lets it go on: the Go
		// runtime's own (SIGURG) must not reach it before it has said that it did it.
		runtime.LockOSThread()
		var every unix.Sigset_t
		for i := range every.Val {
			every.Val[i] = ^every.Val[i]
		}
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &every, nil); err != nil {
			return "", err
		}
		return only(unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	})
	order("vmread", func(a []string) (string, error) { return vm(unix.SYS_PROCESS_VM_READV, a) })
	order("vmwrite", func(a []string) (string, error) { return vm(unix.SYS_PROCESS_VM_WRITEV, a) })
	order("procmem", func(a []string) (string, error) {
		f, err := os.OpenFile("/proc/"+a[0]+"/mem", os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		b := make([]byte, len(secret))
		_, err = f.ReadAt(b, int64(number(a[1])))
		return strings.TrimRight(string(b), "\x00"), err
	})
	order("getfd", func(a []string) (string, error) {
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return "", err
		}
		_, err = unix.PidfdGetfd(fd, 0, 0)
		return "descriptor 0", err
	})
	order("getfdself", func([]string) (string, error) {
		return beyondOf(only(unix.SYS_PIDFD_GETFD, ^uintptr(0), 0, 0))(unix.EBADF)
	})
	order("pidfdsignal", func(a []string) (string, error) {
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return "", err
		}
		return "", unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
	})
	order("peerpidfd", func([]string) (string, error) {
		// The process at the other end of its socket, which it cannot name otherwise.
		fd, err := unix.GetsockoptInt(3, unix.SOL_SOCKET, 77) // SO_PEERPIDFD
		if err != nil {
			return "", fmt.Errorf("getsockopt: %w", err)
		}
		return "", unix.PidfdSendSignal(fd, 0, nil, 0)
	})
	order("madvise", func(a []string) (string, error) {
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return "", err
		}
		v := unix.Iovec{Base: (*byte)(nil), Len: 4096}
		*(*uintptr)(unsafe.Pointer(&v.Base)) = uintptr(number(a[1])) &^ 4095
		return only(unix.SYS_PROCESS_MADVISE, uintptr(fd), at(&v), 1, unix.MADV_COLD, 0)
	})
	order("kcmp", func(a []string) (string, error) {
		return only(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(number(a[0])), 1, 0, 0) // KCMP_VM
	})
	order("kill", func(a []string) (string, error) { return "", unix.Kill(number(a[0]), unix.SIGCONT) })
	order("tgkill", func(a []string) (string, error) {
		return "", unix.Tgkill(number(a[0]), number(a[0]), unix.SIGCONT)
	})
	order("sigqueue", func(a []string) (string, error) {
		info := [128]byte{0: byte(unix.SIGCONT), 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff} // si_code -1: SI_QUEUE
		return only(unix.SYS_RT_SIGQUEUEINFO, uintptr(number(a[0])), uintptr(unix.SIGCONT), at(&info))
	})
	order("killall", func([]string) (string, error) {
		// Signal 0 asks only whether somebody could be signalled.
		for pid := 2; pid < 1<<17; pid++ {
			if unix.Kill(pid, 0) == nil && pid != os.Getpid() && unix.Tgkill(os.Getpid(), pid, 0) != nil {
				return "somebody", nil
			}
		}
		return "", errNothing
	})
	order("setown", func(a []string) (string, error) {
		_, err := unix.FcntlInt(3, unix.F_SETOWN, number(a[0]))
		return "", err
	})
	order("setownex", func(a []string) (string, error) {
		owner := [2]int32{1, int32(number(a[0]))} // F_OWNER_PID
		return only(unix.SYS_FCNTL, 3, 15, at(&owner))
	})
	order("setsig", func([]string) (string, error) {
		_, err := unix.FcntlInt(3, unix.F_SETSIG, int(unix.SIGKILL))
		return "", err
	})
	order("fiosetown", func(a []string) (string, error) {
		pid := int32(number(a[0]))
		return only(unix.SYS_IOCTL, 3, 0x8901, at(&pid))
	})
	order("setpriority", func(a []string) (string, error) {
		return "", unix.Setpriority(unix.PRIO_PROCESS, number(a[0]), 19)
	})
	order("nice", func([]string) (string, error) { return "", unix.Setpriority(unix.PRIO_PROCESS, 0, -5) })
	order("affinity", func(a []string) (string, error) {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return "", err
		}
		return "", unix.SchedSetaffinity(number(a[0]), &set)
	})
	order("scheduler", func(a []string) (string, error) {
		var param [1]int32
		return only(unix.SYS_SCHED_SETSCHEDULER, uintptr(number(a[0])), 3, at(&param)) // SCHED_BATCH
	})
	order("realtime", func([]string) (string, error) {
		param := [1]int32{1}
		if _, err := call(unix.SYS_SCHED_SETSCHEDULER, 0, 1, at(&param)); err != nil { // SCHED_FIFO
			return "", err
		}
		param[0] = 0
		return only(unix.SYS_SCHED_SETSCHEDULER, 0, 0, at(&param))
	})
	order("deadline", func([]string) (string, error) {
		attr := [6]uint64{0: 48 | 6<<32, 3: 1e6, 4: 1e7, 5: 1e7} // struct sched_attr: SCHED_DEADLINE, 1 ms of 10 ms
		return only(unix.SYS_SCHED_SETATTR, 0, at(&attr), 0)
	})
	order("ioprio", func(a []string) (string, error) {
		return only(unix.SYS_IOPRIO_SET, 1, uintptr(number(a[0])), 2<<13|7) // IOPRIO_WHO_PROCESS, best effort, the lowest
	})
	order("prlimit", func(a []string) (string, error) {
		var old unix.Rlimit
		if err := unix.Prlimit(number(a[0]), unix.RLIMIT_NOFILE, nil, &old); err != nil {
			return "", err
		}
		return "", unix.Prlimit(number(a[0]), unix.RLIMIT_NOFILE, &old, nil)
	})
	order("raiselimit", func([]string) (string, error) {
		no := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		return "", unix.Prlimit(0, unix.RLIMIT_FSIZE, &no, nil)
	})
	order("robust", func(a []string) (string, error) {
		var head, length uintptr
		return only(unix.SYS_GET_ROBUST_LIST, uintptr(number(a[0])), at(&head), at(&length))
	})
	order("getsid", func(a []string) (string, error) {
		n, err := unix.Getsid(number(a[0]))
		return fmt.Sprint(n), err
	})
	order("movepages", func(a []string) (string, error) {
		page, status := uintptr(number(a[1]))&^4095, int32(0)
		return only(unix.SYS_MOVE_PAGES, uintptr(number(a[0])), 1, at(&page), 0, at(&status), 0)
	})
	order("cloneparent", func([]string) (string, error) {
		return child(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD))
	})
	order("cloneflags", func(a []string) (string, error) {
		return child(unix.SYS_CLONE, uintptr(number(a[0]))|uintptr(unix.SIGCHLD))
	})
	order("clone3", func(a []string) (string, error) {
		args := [11]uint64{0: uint64(number(a[0])), 4: uint64(unix.SIGCHLD)} // struct clone_args: flags, exit_signal
		return child(unix.SYS_CLONE3, at(&args), unsafe.Sizeof(args))
	})
	order("core", dumpCore)
	order("subreaper", func([]string) (string, error) {
		return "", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	})
	order("prctl", func(a []string) (string, error) {
		return only(unix.SYS_PRCTL, uintptr(number(a[0])), uintptr(number(a[1])), 0, 0, 0)
	})
	// It forks twice, leaves its session, and lives on: it says where.
	order("outlive", func([]string) (string, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		if _, err = syscall.ForkExec(os.Args[0], []string{os.Args[0], "wait"}, &syscall.ProcAttr{Files: []uintptr{r.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}}); err != nil {
			return "", err
		}
		w.Close()
		return "", nil
	})
	order("wait", func([]string) (string, error) {
		unix.Read(0, make([]byte, 1))
		return "", nil
	})
}

// beyondOf is beyond for the result of only.
func beyondOf(_ string, err error) func(own ...unix.Errno) (string, error) {
	return func(own ...unix.Errno) (string, error) { return beyond(err, own...) }
}

// victim waits for its input to end, with a secret in its memory and System V
// objects that anybody may use.
func victim([]string) (string, error) {
	shm, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		return "", err
	}
	memory, err := unix.SysvShmAttach(shm, 0, 0)
	if err != nil {
		return "", err
	}
	copy(memory, secret[:])
	msg, err := call(unix.SYS_MSGGET, unix.IPC_PRIVATE, unix.IPC_CREAT|0o666)
	if err != nil {
		return "", err
	}
	message := [3]uint64{1, 'x', 0}
	if _, err := call(unix.SYS_MSGSND, msg, at(&message), 8, 0); err != nil {
		return "", err
	}
	sem, err := call(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o666)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("hostile-%d", os.Getpid())
	mq, err := call(unix.SYS_MQ_OPEN, text(name), unix.O_CREAT|unix.O_RDWR, 0o666, 0)
	if err != nil {
		return "", err
	}
	defer func() {
		unix.SysvShmCtl(shm, unix.IPC_RMID, nil)
		call(unix.SYS_MSGCTL, msg, unix.IPC_RMID, 0)
		call(unix.SYS_SEMCTL, sem, 0, unix.IPC_RMID, 0)
		call(unix.SYS_MQ_UNLINK, text(name))
		unix.Close(int(mq))
	}()
	fmt.Printf("ready pid=%d address=%d shm=%d msg=%d sem=%d mq=%s\n", os.Getpid(), uintptr(unsafe.Pointer(&secret)), shm, msg, sem, name)
	unix.Read(0, make([]byte, 1))
	return "", nil
}

func vm(nr uintptr, a []string) (string, error) {
	var b [len(secret)]byte
	copy(b[:], secret[:]) // what a write writes is what was there
	local := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	kept = append(kept, &b)
	remote := unix.RemoteIovec{Base: uintptr(number(a[1])), Len: len(b)}
	n, err := call(nr, uintptr(number(a[0])), at(&local), 1, at(&remote), 1, 0)
	return strconv.Itoa(int(n)) + " bytes", err
}

// dumpCore dies in a way that leaves a core file in its working directory.
func dumpCore(a []string) (string, error) {
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &hard); err != nil {
		return "", err
	}
	hard.Cur = hard.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &hard); err != nil {
		return "", err
	}
	if err := os.Chdir(a[0]); err != nil {
		return "", err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return "", err
	}
	var def [4]uint64 // SIG_DFL; Go catches it otherwise
	if _, err := call(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV), at(&def), 0, 8); err != nil {
		return "", err
	}
	fmt.Println("refused: died without a core file") // the test looks for one
	var nowhere *byte
	*nowhere = 1 // a fault ends process 1 of a namespace too, a signal of its own does not
	return "", nil
}
