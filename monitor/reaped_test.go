package monitor

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
)

// A domain whose end nobody tells, for whoever waited for it has died, has ended
// all the same, and how, where the kernel knows it. One that has ended and was
// not waited for is left to be told by whoever waits for it, and one that runs runs.
func TestReaped(t *testing.T) {
	s := startSystem(t, nil)
	process := func(id abi.DomainID, end, wait bool) *domain {
		cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.count=bad")
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if !end {
			cmd = exec.Command("/proc/self/exe", "-test.run=^TestHelperWaits$")
			cmd.Env = append(os.Environ(), helperEnv+"=1")
			cmd.Stdin = in
			t.Cleanup(func() { out.Close(); cmd.Wait() })
		} else {
			defer out.Close()
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		if end {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil {
				t.Fatal(err)
			}
		}
		if wait {
			cmd.Wait()
		} else if end {
			t.Cleanup(func() { cmd.Wait() })
		}
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		d := s.m.domains[id]
		d.kept.pidfd = os.NewFile(uintptr(fd), "pidfd")
		return d
	}
	gone, zombie, runs := process(client, true, true), process(second, true, false), process(server, false, false)
	for range 3 { // one may have been the sweep's turn
		s.m.Reaped()
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if gone.state != stateEnded || gone.status != 2 && gone.status != 255 {
		t.Errorf("of a process that was waited for the state is %d, the status %d", gone.state, gone.status)
	}
	if zombie.state != stateRunning || runs.state != stateRunning {
		t.Errorf("states %d and %d of a process to be waited for, and of one that runs", zombie.state, runs.state)
	}
	if e := s.audit.last(event.Ended); e.Domain != client || int(e.Status) != gone.status {
		t.Errorf("recorded: %+v", e)
	}
}

const helperEnv = "WARD_TEST_HELPER"

// TestHelperWaits is no test: a process that runs until its input ends.
func TestHelperWaits(t *testing.T) {
	if os.Getenv(helperEnv) == "" {
		return
	}
	os.Stdin.Read(make([]byte, 1))
}
