// Command init is the first process of the guest that `make vm-test` boots: it
// mounts what programs expect, runs its plan, and powers off.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ward/vm/internal/plan"
)

func main() {
	failed, err := guest()
	if err != nil {
		fmt.Println(plan.Mark+"error", err)
	} else {
		fmt.Printf("%sdone %d failed\n", plan.Mark, failed)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println(plan.Mark+"power off:", err)
	}
}

func guest() (failed int, err error) {
	if err := switchRoot(); err != nil {
		return 0, fmt.Errorf("new root: %w", err)
	}
	if err := mounts(); err != nil {
		return 0, err
	}
	files := &unix.Rlimit{Cur: 1024, Max: 512 << 10} // as systemd has it
	if err := errors.Join(unix.Sethostname([]byte("guest")), loopback(), unix.Setrlimit(unix.RLIMIT_NOFILE, files)); err != nil {
		return 0, err
	}
	if err := loadModules(); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return 0, err
	}
	var steps []plan.Step
	if err := json.Unmarshal(text, &steps); err != nil {
		return 0, err
	}
	for _, s := range steps {
		fmt.Println(plan.Mark+"begin", s.Name)
		began, result := time.Now(), "ok"
		if err := step(s); err != nil {
			failed++
			result = err.Error()
		}
		fmt.Printf("%send %s %s %.1fs\n", plan.Mark, s.Name, result, time.Since(began).Seconds())
	}
	return failed, nil
}

func step(s plan.Step) error {
	limit := 60 * time.Second
	if s.Seconds > 0 {
		limit = time.Duration(s.Seconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if s.Dir != "" {
		if err := os.MkdirAll(s.Dir, 0o755); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, os.Stdout, os.Stdout
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/root", "NO_COLOR=1"}, s.Env...)
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("ended after %v", limit)
	}
	return err
}

// switchRoot moves to a tmpfs. The first root of a system that was booted from
// a RAM disk cannot be left with pivot_root(2), which domains do.
func switchRoot() error {
	const to = "/newroot"
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("root", to, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == to || path == "/dev":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, filepath.Join(to, path))
		case !d.Type().IsRegular():
			return nil
		}
		return move(path, filepath.Join(to, path))
	})
	if err != nil {
		return err
	}
	return errors.Join(os.Chdir(to), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/"))
}

// move copies a file and removes it, so that memory holds it once.
func move(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Remove(from))
}

func mounts() error {
	for _, m := range []struct{ source, path, kind, data string }{
		{"proc", "/proc", "proc", ""},
		{"sys", "/sys", "sysfs", ""},
		{"dev", "/dev", "devtmpfs", ""},
		{"pts", "/dev/pts", "devpts", ""},
		{"shm", "/dev/shm", "tmpfs", "mode=1777"},
		{"run", "/run", "tmpfs", "mode=755"},
		{"tmp", "/tmp", "tmpfs", "mode=1777"},
		{"securityfs", "/sys/kernel/security", "securityfs", ""},
		{"bpf", "/sys/fs/bpf", "bpf", ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
	} {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.path, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return errors.Join(os.MkdirAll("/var/lib", 0o755), os.MkdirAll("/var/tmp", 0o777), os.MkdirAll("/root", 0o700),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// loopback sets the loopback interface up.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}

// loadModules loads the modules that came along.
func loadModules() error {
	found, err := filepath.Glob(plan.Modules + "/*.ko")
	if err != nil {
		return err
	}
	for _, path := range found {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}
