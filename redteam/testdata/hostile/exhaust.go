//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Each takes as many of something as it is told to, and has succeeded if it
// got them all. The numbers are small, for where nothing stops it.
func init() {
	upTo("forks", func() func() error {
		// Each child waits for its end of a pipe to close: with this process they all end.
		r, w, err := os.Pipe()
		return func() error {
			if err != nil {
				return err
			}
			kept = append(kept, w)
			_, err := syscall.ForkExec(os.Args[0], []string{os.Args[0], "wait"}, &syscall.ProcAttr{Files: []uintptr{r.Fd()}})
			return err
		}
	})
	upTo("threads", func() func() error {
		stack := make([]byte, 4096)
		kept = append(kept, stack)
		return func() error {
			// A thread that does nothing but sleep, in a stack of which it needs nothing.
			return sleepingThread(uintptr(unsafe.Pointer(&stack[len(stack)-128])) &^ 63)
		}
	})
	upTo("opens", func() func() error {
		return func() error { _, err := unix.Dup(0); return err }
	})
	upTo("pipes", func() func() error {
		return func() error {
			r, w, err := os.Pipe()
			kept = append(kept, r, w)
			return err
		}
	})
	upTo("epolls", func() func() error {
		return func() error { _, err := unix.EpollCreate1(0); return err }
	})
	upTo("timers", func() func() error {
		return func() error {
			var id int32
			_, err := call(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, at(&id))
			return err
		}
	})
	upTo("queues", func() func() error {
		n := 0
		return func() error {
			n++
			name := fmt.Sprintf("hostile-%d-%d", os.Getpid(), n)
			fd, err := call(unix.SYS_MQ_OPEN, text(name), unix.O_CREAT|unix.O_RDWR, 0o600, 0)
			if err == nil {
				call(unix.SYS_MQ_UNLINK, text(name))
				kept = append(kept, fd)
			}
			return err
		}
	})
	upTo("keys", func() func() error {
		n := 0
		return func() error {
			n++
			_, err := unix.AddKey("user", strconv.Itoa(n), make([]byte, 64), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}
	})
	upTo("shms", func() func() error {
		return func() error {
			id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
			if err == nil {
				unix.SysvShmAttach(id, 0, 0)
				unix.SysvShmCtl(id, unix.IPC_RMID, nil) // it goes with this process
			}
			return err
		}
	})
	upTo("lockedpages", func() func() error {
		return func() error {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return err
			}
			return unix.Mlock(b)
		}
	})
	upTo("pages", func() func() error {
		return func() error {
			b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
			kept = append(kept, b)
			return err
		}
	})
	upTo("blocks", func() func() error {
		f, err := os.CreateTemp("/tmp", "hostile")
		if err == nil {
			os.Remove(f.Name())
		}
		block := make([]byte, 1<<16)
		return func() error {
			if err != nil {
				return err
			}
			_, err := f.Write(block)
			return err
		}
	})
	upTo("inodes", func() func() error {
		dir, err := os.MkdirTemp("/tmp", "hostile")
		cleanups = append(cleanups, func() { os.RemoveAll(dir) })
		n := 0
		return func() error {
			if err != nil {
				return err
			}
			n++
			return os.Mkdir(filepath.Join(dir, strconv.Itoa(n)), 0o700)
		}
	})
	order("hugepage", func([]string) (string, error) {
		// ENOMEM: it came as far as the pool, and that is empty.
		_, err := unix.Mmap(-1, 0, 2<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_HUGETLB)
		return beyond(err, unix.ENOMEM)
	})
	order("filesize", func(a []string) (string, error) {
		f, err := os.CreateTemp(a[0], "hostile")
		if err != nil {
			return "", err
		}
		defer os.Remove(f.Name())
		return "", f.Truncate(int64(number(a[1])))
	})
}

var cleanups []func()

// upTo makes an order that takes one thing more until it has as many as it
// was told to, or gets no more.
func upTo(name string, begin func() func() error) {
	order(name, func(a []string) (string, error) {
		more := begin()
		defer func() {
			for _, f := range cleanups {
				f()
			}
		}()
		for n := range number(a[0]) {
			if err := more(); err != nil {
				return "", fmt.Errorf("after some: %w (%d)", err, n)
			}
		}
		return a[0], nil
	})
}
