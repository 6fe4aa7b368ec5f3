package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ward/holder/lifeline"
	"ward/kernel/confine"
)

// TestAttackImage: the image that the processes of a running system have
// mapped cannot be changed: not by opening the memory file anew, and not even
// by root through /proc/PID/mem, which writes to memory that is mapped for
// reading only, as the control shows.
func TestAttackImage(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	for _, role := range []string{"monitor", "creator", "audit"} {
		pid := r.processes()[role]
		m := imageMapping(t, pid)
		if m.size == 0 {
			t.Fatalf("the %s has no image mapped", role)
		}
		if err := overwrite(pid, m.start); err == nil {
			t.Errorf("the image of the %s was changed through its memory", role)
		}
		name := fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.start, m.start+int64(m.size))
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
			if _, err := f.WriteAt([]byte{0}, 0); err == nil {
				t.Errorf("the image of the %s was changed through its file", role)
			}
			f.Close()
		}
	}
	// The controls: a private mapping of such a file, mapped for reading only, and a memory file without seals.
	fd, err := unix.MemfdCreate("control", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("image")); err != nil {
		t.Fatal(err)
	}
	private, err := unix.Mmap(fd, 0, 5, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(private)
	if err := overwrite(os.Getpid(), address(t, "/memfd:control")); err != nil || bytes.Equal(private, []byte("image")) {
		t.Errorf("the control, a private mapping, could not be changed: %q, %v", private, err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("X"), 0); err != nil {
		t.Errorf("the control, a memory file without seals: %v", err)
	}
}

// overwrite writes a byte to a process's memory.
func overwrite(pid int, at int64) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{'X'}, at)
	return err
}

// address is where this process has mapped a file.
func address(t *testing.T, name string) (at int64) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.Lines(maps) {
		if bytes.Contains(l, []byte(name)) {
			if _, err := fmt.Sscanf(string(l), "%x-", &at); err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	t.Fatalf("%s is not mapped", name)
	return 0
}

// TestAttackSameUser: another process of user 0 without capabilities, which
// is what a process of wardd is to the others once it is taken over, cannot
// read or write their memory, trace them or take their descriptors. The
// control is a process that does not protect itself.
func TestAttackSameUser(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	victims := r.processes()
	victims["holder"] = r.cmd.Process.Pid
	if len(victims) != 4 {
		t.Fatalf("processes: %v", victims)
	}
	plain := exec.Command("/proc/self/exe", "-test.run=^$")
	stdin, err := plain.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	plain.Env = append(os.Environ(), waitEnv+"=1")
	stdout, err := plain.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Start(); err != nil {
		t.Fatal(err)
	}
	defer plain.Wait()
	defer stdin.Close()
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	victims["control"] = plain.Process.Pid
	withoutCapabilities(t, func() {
		for name, pid := range victims {
			for what, attack := range sameUser {
				if err := attack(pid); (err == nil) != (name == "control") {
					t.Errorf("%s: %s: %v", name, what, err)
				}
			}
		}
	})
}

// waitEnv makes the test program a process that waits (see TestMain).
const waitEnv = "WARDD_TEST_WAIT"

// waitUnprotected has no capabilities either, as otherwise whoever has fewer
// could not reach it, and does nothing else for its protection.
func waitUnprotected() {
	if err := new(confine.Protection).Apply(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.WriteString(".")
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

var sameUser = map[string]func(pid int) error{
	"open its memory": func(pid int) error {
		f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err
	},
	"look at its descriptors": func(pid int) error {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", pid))
		return err
	},
	"take a descriptor": func(pid int) error {
		p, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(p)
		fd, err := unix.PidfdGetfd(p, 0, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	"read its memory": func(pid int) error {
		b := make([]byte, 1)
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0, Len: 1}}, 0)
		if err == unix.EFAULT { // it was let in: there is nothing at 0
			return nil
		}
		return err
	},
	"trace it": func(pid int) error {
		return unix.PtraceSeize(pid) // until this thread ends
	},
}
