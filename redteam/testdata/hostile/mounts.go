//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Each of these works in /tmp or in the directory that it is told, and makes
// its mounts private first: outside of a domain it is run in a mount namespace
// of its own, and nothing may be left of it on the host.
func init() {
	order("mount", func([]string) (string, error) {
		private()
		return "", unix.Mount("none", "/tmp", "tmpfs", 0, "")
	})
	order("mountproc", func([]string) (string, error) {
		private()
		if err := unix.Mount("proc", "/tmp", "proc", 0, ""); err != nil {
			return "", err
		}
		return "", readable(unix.AT_FDCWD, "/tmp/stat")
	})
	order("mountsysfs", func([]string) (string, error) {
		private()
		return "", unix.Mount("sysfs", "/tmp", "sysfs", 0, "")
	})
	order("bind", func(a []string) (string, error) {
		private()
		return "", unix.Mount(a[0], "/tmp", "", unix.MS_BIND, "")
	})
	order("remount", func(a []string) (string, error) {
		prepare(a, unix.MS_RDONLY)
		return "", unix.Mount("", a[0], "", unix.MS_REMOUNT|unix.MS_BIND, "")
	})
	order("umount", func(a []string) (string, error) {
		prepare(a, 0)
		return "", unix.Unmount(a[0], unix.MNT_DETACH)
	})
	order("mountattr", func(a []string) (string, error) {
		prepare(a, unix.MS_NOEXEC|unix.MS_RDONLY)
		return "", unix.MountSetattr(unix.AT_FDCWD, a[0], 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY})
	})
	order("propagate", func(a []string) (string, error) {
		return "", unix.Mount("", a[0], "", unix.MS_SHARED, "")
	})
	order("opentree", func(a []string) (string, error) {
		private()
		fd, err := unix.OpenTree(unix.AT_FDCWD, a[0], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return "", err
		}
		return "", unix.MoveMount(fd, "", unix.AT_FDCWD, "/tmp", unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	order("opentreeattr", func(a []string) (string, error) {
		// A detached clone, of which what makes it read-only is taken away.
		prepare(a, unix.MS_RDONLY)
		fd, err := unix.OpenTree(unix.AT_FDCWD, a[0], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return "", err
		}
		return "", unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	})
	order("fsopen", func([]string) (string, error) {
		fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return "", err
		}
		if err := unix.FsconfigCreate(fs); err != nil {
			return "", err
		}
		mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		fd, err := unix.Openat(mount, "file", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		return "a file system of its own", unix.Close(fd)
	})
	order("fspick", func(a []string) (string, error) {
		prepare(a, 0)
		fd, err := unix.Fspick(unix.AT_FDCWD, a[0], unix.FSPICK_CLOEXEC)
		if err != nil {
			return "", err
		}
		return only(unix.SYS_FSCONFIG, uintptr(fd), 7, 0, 0, 0) // FSCONFIG_CMD_RECONFIGURE
	})
	order("pivot", func([]string) (string, error) {
		private()
		if err := unix.Mount("none", "/tmp", "tmpfs", 0, ""); err != nil {
			return "", err
		}
		if err := os.Chdir("/tmp"); err != nil {
			return "", err
		}
		return "", unix.PivotRoot(".", ".")
	})
	order("chroot", escapeChroot)
	order("cgroupmount", func([]string) (string, error) {
		private()
		return "", unix.Mount("none", "/tmp", "cgroup2", 0, "")
	})
	order("cgroupmove", func(a []string) (string, error) {
		return "", os.WriteFile(filepath.Join(a[0], "cgroup.procs"), []byte("0"), 0)
	})
	order("releaseagent", func([]string) (string, error) {
		// A hierarchy of its own, without controllers: it ends with the last mount.
		private()
		if err := unix.Mount("none", "/tmp", "cgroup", 0, fmt.Sprint("none,name=hostile", os.Getppid())); err != nil {
			return "", err
		}
		defer unix.Unmount("/tmp", unix.MNT_DETACH)
		return "", os.WriteFile("/tmp/release_agent", []byte("/bin/true"), 0)
	})
	order("setns", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		return "", unix.Setns(fd, 0)
	})
	order("setnspid", func(a []string) (string, error) {
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return "", err
		}
		return "", unix.Setns(fd, unix.CLONE_NEWUTS)
	})
	order("unshare", func(a []string) (string, error) { return "", unix.Unshare(number(a[0])) })
	order("hostname", func([]string) (string, error) { return "", unix.Sethostname([]byte("hostile")) })
	order("domainname", func([]string) (string, error) { return "", unix.Setdomainname([]byte("hostile")) })
}

func private() { unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }

// prepare makes a mount in the first argument's place, if told to: outside of
// a domain there is none yet.
func prepare(a []string, flags uintptr) {
	if len(a) > 1 && a[1] == "prepare" {
		private()
		if err := unix.Mount("none", a[0], "tmpfs", flags, ""); err != nil {
			fmt.Println("prepare:", err)
			os.Exit(2)
		}
	}
}

// escapeChroot leaves a root directory that is one by chroot only: a directory
// from before, a second root, and up from there (chroot(2)). The first
// argument is a directory to do it in, the second a file outside.
func escapeChroot(a []string) (string, error) {
	jail := filepath.Join(a[0], fmt.Sprint("jail-", os.Getpid()))
	if err := os.MkdirAll(filepath.Join(jail, "second"), 0o755); err != nil {
		return "", fmt.Errorf("mkdir: %w", err)
	}
	defer os.RemoveAll(jail)
	if len(a) > 2 && a[2] == "prepare" {
		if err := errors.Join(unix.Chroot(jail), os.Chdir("/")); err != nil {
			return "", err
		}
		jail = "/"
	}
	before, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	if err := unix.Chroot(filepath.Join(jail, "second")); err != nil {
		return "", err
	}
	if err := unix.Fchdir(before); err != nil {
		return "", err
	}
	return "", readable(unix.AT_FDCWD, strings.Repeat("../", 40)+strings.TrimPrefix(a[1], "/"))
}
