//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	attacks["ptrace"] = func(args []string) (string, error) {
		runtime.LockOSThread()
		pid := number(args[0])
		if err := unix.PtraceAttach(pid); err != nil {
			return "", err
		}
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
			return "", err
		}
		return "attached", unix.PtraceDetach(pid)
	}
	attacks["vmread"] = func(args []string) (string, error) {
		b := make([]byte, 8)
		local := []unix.Iovec{{Base: &b[0], Len: 8}}
		remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&attacks)), Len: 8}}
		n, err := unix.ProcessVMReadv(number(args[0]), local, remote, 0)
		return fmt.Sprint(n, " bytes"), err
	}
	attacks["procmem"] = func(args []string) (string, error) {
		f, err := os.OpenFile("/proc/"+args[0]+"/mem", os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		return "open", f.Close()
	}
	attacks["pidfdgetfd"] = func(args []string) (string, error) {
		p, err := unix.PidfdOpen(number(args[0]), 0)
		if err != nil {
			return "", fmt.Errorf("pidfd_open: %w", err)
		}
		_, err = unix.PidfdGetfd(p, 3, 0)
		return "descriptor 3", err
	}
	attacks["getfdself"] = func([]string) (string, error) {
		_, _, e := unix.Syscall(unix.SYS_PIDFD_GETFD, ^uintptr(0), 0, 0)
		return reached(e, unix.EBADF)
	}
	attacks["signal"] = func(args []string) (string, error) {
		return "", unix.Kill(number(args[0]), unix.SIGCONT)
	}
	attacks["signalall"] = func([]string) (string, error) {
		// Signal 0 asks only whether somebody could be signalled.
		for pid := 2; pid < 1<<16; pid++ {
			if unix.Kill(pid, 0) == nil && pid != os.Getpid() && unix.Tgkill(os.Getpid(), pid, 0) != nil {
				return fmt.Sprint("process ", pid), nil
			}
		}
		return "", errors.New("nobody there")
	}
	attacks["userns"] = func([]string) (string, error) { return inner(syscall.CLONE_NEWUSER, "geteuid") }
	attacks["mount"] = func([]string) (string, error) { return "", mountInNamespace() }
	attacks["geteuid"] = func([]string) (string, error) {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return "", err
		}
		return fmt.Sprintf("euid=%d caps=%x", os.Geteuid(), data[0].Effective), nil
	}
	// execute another program, and say what it said.
	attacks["exec"] = func(args []string) (string, error) {
		out, err := exec.Command(args[0], args[1:]...).Output()
		return string(out), err
	}
	attacks["forkbomb"] = func(args []string) (string, error) {
		// Each child waits for its end of a pipe to close: with this process they all end.
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		n := 0
		for ; n < number(args[0]); n++ {
			_, err := syscall.ForkExec(os.Args[0], []string{os.Args[0], "waitpipe"}, &syscall.ProcAttr{Files: []uintptr{r.Fd(), 1, 2}})
			if err != nil {
				break
			}
		}
		w.Close()
		return fmt.Sprint(n), nil
	}
	attacks["waitpipe"] = func([]string) (string, error) {
		var b [1]byte
		unix.Read(0, b[:])
		os.Exit(0)
		return "", nil
	}
}

// inner runs another attack in a child in new namespaces.
func inner(flags uintptr, attack string) (string, error) {
	cmd := exec.Command(os.Args[0], attack)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

// mountInNamespace forks into a user and a mount namespace, where it has all
// capabilities until it executes something, and mounts.
func mountInNamespace() error {
	kind, target := []byte("tmpfs\x00"), []byte("/tmp\x00")
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_NEWNS|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		return e
	}
	if pid == 0 {
		_, _, e := unix.RawSyscall6(unix.SYS_MOUNT, uintptr(unsafe.Pointer(&kind[0])), uintptr(unsafe.Pointer(&target[0])), uintptr(unsafe.Pointer(&kind[0])), 0, 0, 0)
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(e), 0, 0)
		}
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &status, 0, nil); err != nil {
		return err
	}
	if n := status.ExitStatus(); n != 0 {
		return unix.Errno(n)
	}
	return nil
}
