package nginxbench

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Each nginx has one processor, the load the others: where the scheduler
// chooses, it moves who loads and who answers together and apart from turn to
// turn, which takes more than what is measured.

// split divides the processors that this process may use: the last one for
// nginx, the others for the load. With one processor there is nothing to divide.
func split() (nginx, load unix.CPUSet, ok bool, err error) {
	if err := unix.SchedGetaffinity(0, &load); err != nil {
		return nginx, load, false, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for i := 8*len(load)*wordBytes - 1; i >= 0 && load.Count() > 1; i-- {
		if load.IsSet(i) {
			load.Clear(i)
			nginx.Set(i)
			return nginx, load, true, nil
		}
	}
	return nginx, load, false, nil
}

// wordBytes is the size of a word of a CPUSet.
const wordBytes = strconv.IntSize / 8

// pin puts all threads of a process on the processors of set; threads that they
// make later are there too (sched_setaffinity(2)).
func pin(pid int, set *unix.CPUSet) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		// A thread may have ended meanwhile.
		if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("sched_setaffinity of %d: %w", pid, err)
		}
	}
	return nil
}

// apart puts the load and each nginx on processors of their own, and returns
// what puts the load back. It reports whether there were enough.
func (b *bench) apart() (back func() error, ok bool, err error) {
	var was unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		return nil, false, fmt.Errorf("sched_getaffinity: %w", err)
	}
	nginx, load, ok, err := split()
	if err != nil || !ok {
		return func() error { return nil }, false, err
	}
	for _, s := range b.servers {
		// A worker that is being made may be nowhere yet, and have its
		// processors already.
		if err := s.awaitWorker(); err != nil {
			return nil, false, fmt.Errorf("nginx %s: %w", s.name, err)
		}
		// What the master makes after that is pinned, too.
		if err := pin(s.pid, &nginx); err != nil {
			return nil, false, fmt.Errorf("nginx %s: %w", s.name, err)
		}
		pids, err := s.processes()
		if err != nil {
			return nil, false, err
		}
		for _, pid := range pids {
			if err := pin(pid, &nginx); err != nil {
				return nil, false, fmt.Errorf("nginx %s: %w", s.name, err)
			}
		}
	}
	return func() error { return pin(os.Getpid(), &was) }, true, pin(os.Getpid(), &load)
}
