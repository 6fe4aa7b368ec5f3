package monitor

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// What a new creator would have been told is closed if it cannot be listed whole. The
// ends of pipes show whether a copy of one is left.
func TestRunningLeavesNoCopies(t *testing.T) {
	closed := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return f
	}
	for what, fail := range map[string]func(*Monitor){
		"a process": func(m *Monitor) { m.domains[second].kept.pidfd = closed() },
		"the image": func(m *Monitor) { m.coming = closed() },
	} {
		t.Run(what, func(t *testing.T) {
			s := startSystem(t, nil)
			var read, write []*os.File
			for range 2 {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				read, write = append(read, r), append(write, w)
			}
			s.m.mu.Lock()
			for i, id := range []abi.DomainID{client, server} {
				s.m.domains[id].kept.pidfd = write[i]
			}
			fail(s.m)
			s.m.mu.Unlock()
			running, sealed, err := s.m.Running()
			if err == nil || len(running) != 0 || sealed != nil {
				t.Errorf("%d that run, image %v, %v", len(running), sealed, err)
			}
			s.m.mu.Lock()
			for _, id := range []abi.DomainID{client, second, server} {
				s.m.domains[id].kept.pidfd = nil
			}
			s.m.coming = nil
			s.m.mu.Unlock()
			for i := range read {
				write[i].Close()
				p := []unix.PollFd{{Fd: int32(read[i].Fd())}}
				if n, err := unix.Poll(p, 0); n != 1 || p[0].Revents&unix.POLLHUP == 0 {
					t.Errorf("a copy of the descriptor of process %d is left: %v", i, err)
				}
			}
		})
	}
}
