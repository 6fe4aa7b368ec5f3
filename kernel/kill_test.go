package kernel

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAttackDoubleFork: a process that forked, left the session and lost its
// parents ends with the first process of its domain, whatever ended that. The
// control: without a PID namespace it lives on.
func TestAttackDoubleFork(t *testing.T) {
	needHost(t)
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Skipf("needs setsid: %v", err)
	}
	for _, without := range []Defence{0, WithNamespaces} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := shell(w, "(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000")
		s.Without = without
		p, err := s.Start()
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(r)
		line, err := out.ReadString('\n')
		pid, convErr := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || convErr != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Wait4(p.PID, nil, 0, nil); err != nil {
			t.Fatal(err)
		}
		p.Pidfd.Close()
		if without != 0 { // its number is one of ours
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Errorf("control: the process has ended without a PID namespace: %v", err)
			}
		}
		// Whoever is left holds the pipe.
		if _, err := io.Copy(io.Discard, out); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}
