//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of ioctl_fsxattr(2) and ioctl_iflags(2).
const (
	getAttributes = 0x801c581f
	setAttributes = 0x401c5820
	inheritFlag   = 0x20000000 // FS_PROJINHERIT_FL
)

type attributes struct {
	flags, _, _ uint32
	project     uint32
	_           [3]uint32
}

func init() {
	// pile writes so many bytes to files of 64 KiB in a directory, and leaves them there.
	attacks["pile"] = func(args []string) (string, error) {
		b := make([]byte, 64<<10)
		n := 0
		for i := 0; n < number(args[1]); i++ {
			f, err := os.Create(filepath.Join(args[0], fmt.Sprintf("pile%d", i)))
			if err != nil {
				return "", fmt.Errorf("after %d bytes: %w", n, err)
			}
			k, err := f.Write(b)
			f.Close()
			n += k
			if err != nil {
				return "", fmt.Errorf("after %d bytes: %w", n, err)
			}
		}
		return fmt.Sprint(n), nil
	}
	// litter makes so many empty files in a directory.
	attacks["litter"] = func(args []string) (string, error) {
		for i := range number(args[1]) {
			f, err := os.Create(filepath.Join(args[0], fmt.Sprintf("litter%d", i)))
			if err != nil {
				return "", fmt.Errorf("after %d files: %w", i, err)
			}
			f.Close()
		}
		return args[1], nil
	}
	// project gives a file or a directory to a project.
	attacks["project"] = func(args []string) (string, error) {
		f, err := os.Open(args[0])
		if err != nil {
			return "", err
		}
		defer f.Close()
		var a attributes
		// The allow-list has the one no more than the other: go on without what it is now.
		unix.Syscall(unix.SYS_IOCTL, f.Fd(), getAttributes, uintptr(unsafe.Pointer(&a)))
		a.project = uint32(number(args[1]))
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), setAttributes, uintptr(unsafe.Pointer(&a))); e != 0 {
			return "", e
		}
		return args[1], nil
	}
	// disinherit makes that what comes into a directory is not of its project.
	attacks["disinherit"] = func(args []string) (string, error) {
		f, err := os.Open(args[0])
		if err != nil {
			return "", err
		}
		defer f.Close()
		flags := 0
		unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_GETFLAGS, uintptr(unsafe.Pointer(&flags)))
		flags &^= inheritFlag
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.FS_IOC_SETFLAGS, uintptr(unsafe.Pointer(&flags))); e != 0 {
			return "", e
		}
		return args[0], nil
	}
	// insist writes to a file for ever, whatever it is told.
	attacks["insist"] = func(args []string) (string, error) {
		f, err := os.Create(filepath.Join(args[0], "insist"))
		if err != nil {
			return "", err
		}
		fmt.Println("ready")
		for b := make([]byte, 64<<10); ; {
			f.Write(b)
		}
	}
	// then runs one attack and then another, which must both succeed.
	attacks["then"] = func(args []string) (string, error) {
		i := number(args[0])
		if _, err := attacks[args[1]](args[2:i]); err != nil {
			return "", fmt.Errorf("%s: %w", args[1], err)
		}
		return attacks[args[i]](args[i+1:])
	}
	// show says what is in a directory.
	attacks["show"] = func(args []string) (string, error) {
		entries, err := os.ReadDir(args[0])
		if err != nil {
			return "", err
		}
		out := ""
		for _, e := range entries {
			out += " " + e.Name()
		}
		return out, nil
	}
}
