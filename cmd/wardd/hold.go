package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ward/holder"
	"ward/holder/child"
	"ward/holder/lifeline"
	"ward/kernel/confine"
)

// hold is the holder process: it prepares what package holder, which does the
// rest, is given.
func hold(o *options, image, life *os.File, flags []string) int {
	failed := func(err error) int {
		lifeline.Write(life, lifeline.Report{Kind: lifeline.Fatal, Status: exitFailed, Text: err.Error()})
		lifeline.Write(life, lifeline.Report{Kind: lifeline.Stopped, Status: exitFailed})
		return exitFailed
	}
	if err := protect("holder", o, nil); err != nil {
		return failed(err)
	}
	path, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	exe, err := openProgram("/proc/self/exe")
	if err != nil {
		return failed(err)
	}
	dir, err := lockDir(o.runDir)
	if err != nil {
		return failed(err)
	}
	defer dir.Close()
	var net emptyNet
	return holder.Run(holder.Config{
		Program: child.Program{Exe: exe, Image: image, Args: flags, Within: func(alone bool, start func() error) error {
			return confine.Raise(func() error {
				if alone {
					return net.within(start)
				}
				return start()
			})
		}},
		Upgrade: func() (*os.File, error) {
			if err := rootsAlone(path); err != nil {
				return nil, err
			}
			return openProgram(path)
		},
		Life: life, Stop: untilStop(life), Grace: max(o.grace, o.longest),
	})
}

// untilStop is closed when the system is to stop: by a signal, or because
// whoever started it has ended. Later signals are ignored.
func untilStop(life *os.File) <-chan struct{} {
	signals, ended, stop := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	signal.Ignore(unix.SIGPIPE)
	go func() {
		var b [1]byte
		life.Read(b[:]) // nobody writes to it: it returns at the end
		close(ended)
	}()
	go func() {
		select {
		case <-signals:
		case <-ended:
		}
		close(stop)
	}()
	return stop
}

// openProgram opens an executable to be started by its descriptor, which is
// above all that a process is started with: those are put in place first.
func openProgram(path string) (*os.File, error) {
	const above = 64
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(high), path), nil
}

// rootsAlone reports a path that somebody but root could put another file at.
func rootsAlone(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != 0 || st.Mode()&0o022 != 0 && st.Mode()&os.ModeSticky == 0 {
			return fmt.Errorf("%s is not root's alone, so the program that stands at %s is not started", dir, path)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// An emptyNet is a network namespace with nothing in it but the sockets of
// gates: all monitors have the same, so that one finds those of another.
type emptyNet struct{ file *os.File }

// within calls start with this thread in the namespace.
func (n *emptyNet) within(start func() error) error {
	const self = "/proc/thread-self/ns/net"
	own, err := os.Open(self)
	if err != nil {
		return err
	}
	defer own.Close()
	if n.file == nil {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("an empty network namespace: %w", err)
		}
		n.file, err = os.Open(self)
	} else {
		err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
	}
	if err == nil {
		err = start()
	}
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave the empty network namespace: %w", back)
	}
	return err
}
