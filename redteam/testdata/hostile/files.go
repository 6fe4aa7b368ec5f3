//go:build linux

package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	order("read", func(a []string) (string, error) {
		f, err := os.Open(a[0])
		if err != nil {
			return "", err
		}
		b := make([]byte, 64)
		n, err := f.Read(b)
		return fmt.Sprintf("%d bytes", n), err
	})
	order("openwrite", func(a []string) (string, error) {
		f, err := os.OpenFile(a[0], os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		return "open for writing", f.Close()
	})
	order("openread", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		return "open", unix.Close(fd)
	})
	order("truncate", func(a []string) (string, error) { return "", os.Truncate(a[0], 0) })
	order("opentruncate", func(a []string) (string, error) {
		mode, err := strconv.Atoi(a[1])
		if err != nil {
			return "", err
		}
		fd, err := unix.Open(a[0], unix.O_TRUNC|mode, 0)
		if err != nil {
			return "", err
		}
		return "", unix.Close(fd)
	})
	order("chmod", func(a []string) (string, error) { return "", os.Chmod(a[0], 0o777) })
	// Not an attack: how the tests make programs.
	order("copy", func(a []string) (string, error) {
		b, err := os.ReadFile(a[0])
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(a[1], b, 0o755)
	})
	order("leave", func(a []string) (string, error) {
		name := filepath.Join(a[0], fmt.Sprint("hostile-", os.Getpid()))
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			return "", err
		}
		return "", os.Remove(name)
	})
	order("link", func(a []string) (string, error) { return "", os.Link(a[0], a[1]) })
	order("rename", func(a []string) (string, error) { return "", os.Rename(a[0], a[1]) })
	order("whiteout", func(a []string) (string, error) {
		// What is left behind is a device.
		if err := unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[0]+".moved", unix.RENAME_WHITEOUT); err != nil {
			return "", err
		}
		return "", os.Remove(a[0])
	})
	order("unlink", func(a []string) (string, error) { return "", os.Remove(a[0]) })
	order("symlink", throughSymlink)
	order("reopen", reopen)
	order("dirfds", leakedDirectories)
	order("fds", leakedDescriptors)
	order("dotdot", func(a []string) (string, error) {
		return "", readable(unix.AT_FDCWD, strings.Repeat("../", 40)+strings.TrimPrefix(a[0], "/"))
	})
	order("mknod", func(a []string) (string, error) {
		if err := unix.Mknod(a[0], unix.S_IFCHR|0o666, int(unix.Mkdev(uint32(number(a[1])), uint32(number(a[2]))))); err != nil {
			return "", err
		}
		defer os.Remove(a[0])
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		return "open", unix.Close(fd)
	})
	order("handle", func(a []string) (string, error) {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, a[0], 0)
		if err != nil {
			return "", err
		}
		return hex.EncodeToString(h.Bytes()), nil
	})
	// A file by a handle that it knows, on the file system of a file that it may open.
	order("byhandle", func(a []string) (string, error) {
		mount, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		b, err := hex.DecodeString(a[2])
		if err != nil {
			return "", err
		}
		fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(int32(number(a[1])), b), unix.O_RDONLY)
		if err != nil {
			return "", err
		}
		n, err := unix.Read(fd, make([]byte, 64))
		return fmt.Sprintf("%d bytes", n), err
	})
	order("setuidfile", func(a []string) (string, error) {
		name := filepath.Join(a[0], "setuid")
		if err := os.WriteFile(name, []byte("x"), 0o755); err != nil {
			return "", err
		}
		switch a[1] {
		case "chmod":
			return "", unix.Chmod(name, 0o4755)
		case "fchmod":
			fd, err := unix.Open(name, unix.O_RDONLY, 0)
			if err != nil {
				return "", err
			}
			return "", unix.Fchmod(fd, 0o4755)
		case "fchmodat2":
			return only(452, here, text(name), 0o4755, 0)
		case "open":
			return only(unix.SYS_OPENAT, here, text(name+"2"), unix.O_CREAT|unix.O_WRONLY, 0o4755)
		case "openat2":
			return only(unix.SYS_OPENAT2, here, text(name+"2"), at(&unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o4755}), unix.SizeofOpenHow)
		case "mknod":
			return only(unix.SYS_MKNODAT, here, text(name+"2"), unix.S_IFREG|0o4755, 0)
		}
		return "", errors.New("no such way")
	})
	order("xattr", func(a []string) (string, error) { return "", unix.Setxattr(a[0], "user.hostile", []byte("x"), 0) })
	order("setflags", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		flags := uint64(0x40) // FS_NODUMP_FL
		return only(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_SETFLAGS, at(&flags))
	})
	order("deviceioctl", func(a []string) (string, error) {
		fd, err := unix.Open("/dev/urandom", unix.O_RDONLY, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		var n uint64
		return only(unix.SYS_IOCTL, uintptr(fd), 0x80045200, at(&n)) // RNDGETENTCNT
	})
	order("fanotify", func(a []string) (string, error) {
		fd, err := call(unix.SYS_FANOTIFY_INIT, unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, unix.O_RDONLY)
		if err != nil {
			return "", err
		}
		return only(unix.SYS_FANOTIFY_MARK, fd, unix.FAN_MARK_ADD, unix.FAN_OPEN, here, text(a[0]))
	})
	order("inotify", func(a []string) (string, error) {
		fd, err := unix.InotifyInit1(0)
		if err != nil {
			return "", err
		}
		_, err = unix.InotifyAddWatch(fd, a[0], unix.IN_OPEN|unix.IN_ACCESS)
		return "", err
	})
	order("fcntl", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		_, err = unix.FcntlInt(uintptr(fd), number(a[1]), number(a[2]))
		return "", err
	})
	order("lock", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		return "locked", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	})
	order("writelock", func(a []string) (string, error) {
		fd, err := unix.Open(a[0], unix.O_RDWR, 0)
		if err != nil {
			return "", fmt.Errorf("open: %w", err)
		}
		return "locked", unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	})
	order("renameexec", func(a []string) (string, error) {
		if err := os.Rename(a[0], a[1]); err != nil {
			return "", err
		}
		return execute(a[1])
	})
}

// readable says whether a byte can be read from a file.
func readable(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, make([]byte, 1))
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}

// throughSymlink makes a link in a directory that it may write, and reads through it.
func throughSymlink(a []string) (string, error) {
	name := filepath.Join(a[0], "link")
	if err := os.Symlink(a[1], name); err != nil {
		return "", err
	}
	defer os.Remove(name)
	return "", readable(unix.AT_FDCWD, name)
}

// reopen opens a file that it may read, and that descriptor again for writing.
func reopen(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	_, err = unix.Write(again, []byte("overwritten"))
	return "", err
}

// leakedDirectories looks for a directory among its descriptors, and its
// working directory, from which a file of the host is reached (CVE-2024-21626).
func leakedDirectories(a []string) (string, error) {
	rel := strings.Repeat("../", 40) + strings.TrimPrefix(a[0], "/")
	last := errNothing
	for fd := range 256 {
		if fd < 3 {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if last = readable(fd, rel); last == nil {
			return fmt.Sprint("through descriptor ", fd), nil
		}
	}
	return "", last
}

// leakedDescriptors are files and pipes beside the ones that it was given.
func leakedDescriptors([]string) (string, error) {
	for fd := range 256 {
		var st unix.Stat_t
		if fd < 4 || unix.Fstat(fd, &st) != nil {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFIFO {
			return fmt.Sprint("descriptor ", fd), nil
		}
	}
	return "", errNothing
}

// execute executes a file, in place of itself; it says so if it succeeded.
// With a pointer of its own, as a domain has execveat only.
func execute(name string) (string, error) {
	argv := []uintptr{text(name), text("executed"), 0}
	env := []uintptr{0}
	_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, here, text(name), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), 0, 0)
	return "", e
}

func init() {
	order("executed", func([]string) (string, error) {
		if strings.HasPrefix(os.Args[0], "/tmp/hostile-") {
			os.Remove(os.Args[0])
		}
		return "executed " + filepath.Base(os.Args[0]), nil
	})
	// What it is: user ID and capabilities.
	order("ids", func([]string) (string, error) { return ids() })
	order("gain", gain)
	order("execwritten", func([]string) (string, error) {
		name, err := copySelf("/tmp")
		if err != nil {
			return "", fmt.Errorf("write: %w", err)
		}
		defer os.Remove(name)
		return execute(name)
	})
	order("execmemory", func([]string) (string, error) {
		fd, err := unix.MemfdCreate("hostile", 0)
		if err != nil {
			return "", err
		}
		b, err := os.ReadFile(os.Args[0])
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
		if _, err := unix.Write(fd, b); err != nil {
			return "", fmt.Errorf("write: %w", err)
		}
		argv := []uintptr{text("hostile"), text("executed"), 0}
		env := []uintptr{0}
		_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), text(""), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
		return "", e
	})
	order("selfexe", func([]string) (string, error) {
		// A program that runs cannot be opened for writing, so another one does it.
		fd, err := unix.Open("/proc/self/exe", unix.O_PATH, 0)
		if err != nil {
			return "", err
		}
		script := fmt.Sprintf("if (echo overwritten >> /proc/self/fd/%d) 2>/dev/null; then echo done; else echo refused: cannot write; fi", fd)
		return "", unix.Exec("/bin/sh", []string{"sh", "-c", script}, nil)
	})
	order("writeself", func([]string) (string, error) { return "", os.WriteFile(os.Args[0], []byte("x"), 0) })
	order("replaceself", func([]string) (string, error) {
		name := os.Args[0] + ".new"
		if err := os.WriteFile(name, []byte("x"), 0o755); err != nil {
			return "", err
		}
		return "", os.Rename(name, os.Args[0])
	})
}

// copySelf makes a copy of this program in a directory.
func copySelf(dir string) (string, error) {
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, fmt.Sprintf("hostile-%d-%x", os.Getpid(), binary.NativeEndian.Uint32(randomBytes())))
	return name, os.WriteFile(name, b, 0o755)
}

func randomBytes() []byte {
	b := make([]byte, 4)
	unix.Getrandom(b, 0)
	return b
}
