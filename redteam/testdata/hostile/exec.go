//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func init() {
	order("loader", func([]string) (string, error) {
		name, err := copyFile("/bin/true", "/tmp")
		if err != nil {
			return "", err
		}
		defer os.Remove(name)
		return shown(exec.Command("/lib64/ld-linux-x86-64.so.2", name))
	})
	order("preload", func(a []string) (string, error) {
		name, err := copyFile(a[0], "/tmp")
		if err != nil {
			return "", err
		}
		defer os.Remove(name)
		cmd := exec.Command("/bin/sh", "-c", "while read l; do case \"$l\" in *x*"+filepath.Base(name)+"*) exit 0;; esac; done < /proc/self/maps; exit 1")
		cmd.Env = []string{"LD_PRELOAD=" + name}
		return shown(cmd)
	})
	// The namespaces of its own, in which it is root, for another order.
	order("nsroot", nsRoot)
	order("env", func(a []string) (string, error) {
		if v, ok := os.LookupEnv(a[0]); ok {
			return v, nil
		}
		return "", errNothing
	})
	order("gaingroup", func(a []string) (string, error) {
		out, err := exec.Command(a[0], "gid").Output()
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(string(out)) == fmt.Sprint("done ", os.Getgid()) {
			return "", errNothing
		}
		return string(out), nil
	})
	order("gid", func([]string) (string, error) { return fmt.Sprint(os.Getegid()), nil })
	order("groups", func([]string) (string, error) {
		g, err := os.Getgroups()
		if err == nil && (len(g) == 0 || len(g) == 1 && g[0] == os.Getgid()) {
			err = errNothing
		}
		return fmt.Sprint(g), err
	})
	order("cwd", func(a []string) (string, error) { return "", readable(unix.AT_FDCWD, a[0]) })
	order("fork", func([]string) (string, error) {
		return child(unix.SYS_CLONE, uintptr(unix.SIGCHLD))
	})
}

func ids() (string, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return "", err
	}
	return fmt.Sprintf("euid=%d caps=%x", os.Geteuid(), data[0].Effective), nil
}

// gain executes another program in the hope to be more than before.
func gain(a []string) (string, error) {
	mine, err := ids()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(a[0], "ids").Output()
	if err != nil {
		return "", err
	}
	if got := strings.TrimSpace(string(out)); got != "done "+mine {
		return got, nil
	}
	return "", errNothing
}

func copyFile(from, dir string) (string, error) {
	b, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, fmt.Sprintf("hostile-%d-%s", os.Getpid(), filepath.Base(from)))
	return name, os.WriteFile(name, b, 0o755)
}

// shown runs a program, whose success is the attack's.
func shown(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(string(out), "\n")
		return "", fmt.Errorf("%w: %s", err, line)
	}
	return "", nil
}

// nsRoot makes namespaces of all kinds, with itself as root of the user
// namespace, and tries another order in them.
func nsRoot(a []string) (string, error) {
	cmd := exec.Command(os.Args[0], a...)
	cmd.Stdout = os.Stdout
	cmd.Stderr = os.Stderr
	if _, err := unix.FcntlInt(3, unix.F_GETFD, 0); err == nil {
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "control")}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); ended || err == nil {
		os.Exit(cmd.ProcessState.ExitCode()) // it has said what there is to say
	}
	return "", fmt.Errorf("no user namespace: %w", err)
}

// child makes a child that ends at once, in the way that is told, and waits for it.
func child(nr uintptr, args ...uintptr) (string, error) {
	var a [5]uintptr
	copy(a[:], args)
	pid, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], 0)
	if e != 0 {
		return "", e
	}
	if pid == 0 {
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &status, unix.WALL, nil); err != nil && err != unix.ECHILD {
		return "", err
	}
	return "a child", nil
}
