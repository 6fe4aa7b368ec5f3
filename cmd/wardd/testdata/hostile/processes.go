//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// image is where the ELF header of a static program lies, this one's and that
// of each process of wardd.
const image = 0x400000

func init() {
	orders["ptrace"] = func(args []string) (string, error) {
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
	orders["vmread"] = func(args []string) (string, error) {
		b := make([]byte, 4)
		local := []unix.Iovec{{Base: &b[0], Len: 4}}
		remote := []unix.RemoteIovec{{Base: image, Len: 4}}
		_, err := unix.ProcessVMReadv(number(args[0]), local, remote, 0)
		return fmt.Sprintf("%q", b), err
	}
	orders["procmem"] = func(args []string) (string, error) {
		f, err := os.OpenFile("/proc/"+args[0]+"/mem", os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b := make([]byte, 4)
		_, err = f.ReadAt(b, image)
		return fmt.Sprintf("%q", b), err
	}
	orders["procfd"] = func(args []string) (string, error) {
		name, err := os.Readlink("/proc/" + args[0] + "/fd/0")
		return name, err
	}
	orders["pidfdgetfd"] = func(args []string) (string, error) {
		p, err := unix.PidfdOpen(number(args[0]), 0)
		if err != nil {
			return "", fmt.Errorf("pidfd_open: %w", err)
		}
		defer unix.Close(p)
		fd, err := unix.PidfdGetfd(p, 0, 0)
		if err != nil {
			return "", err
		}
		return "descriptor 0", unix.Close(fd)
	}
	orders["signal"] = func(args []string) (string, error) {
		return "", unix.Kill(number(args[0]), unix.SIGCONT)
	}
	orders["signalthread"] = func(args []string) (string, error) {
		return "", unix.Tgkill(number(args[0]), number(args[0]), unix.SIGCONT)
	}
	// powerless gives all capabilities up, then does the rest.
	orders["powerless"] = func(args []string) (string, error) {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&head, &none[0]); err != nil {
			return "", err
		}
		return orders[args[0]](args[1:])
	}
	// idle is somebody to attack. undumpable is what wardd's processes do.
	orders["idle"] = func([]string) (string, error) {
		fmt.Println("ready")
		var b [1]byte
		_, err := os.Stdin.Read(b[:])
		return "", err
	}
	orders["undumpable"] = func(args []string) (string, error) {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return "", err
		}
		return orders[args[0]](args[1:])
	}
	// connect PATH, and die.
	orders["connect"] = func(args []string) (string, error) {
		_, err := dial(args[0])
		return "", err
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
