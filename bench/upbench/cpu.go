package upbench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CPU time says what a start costs whatever else the machine does; the time from one
// start to the next does not.

// cpuOf is the CPU time that the threads of a process had so far, ns. Threads
// that have ended do not count; wardd's and Go's stay.
func cpuOf(pid int) (ns int64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has just ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		ns += n
	}
	return ns
}

// wardds is the CPU time of all processes of wardd.
func wardds(holder int) (ns int64, err error) {
	all, err := roles(holder)
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		ns += cpuOf(p.PID)
	}
	return ns, nil
}

// A sample is what wardd had used when so many domains had started.
type sample struct {
	started int
	cpu     int64
}

// cpuWindow is how many starts the CPU time of a start is the mean of.
func cpuWindow(domains int) int { return max(window, domains/8) }

// sampled reports whether to look at wardd when so many of n domains have started.
func sampled(started, n int) bool {
	w := cpuWindow(n)
	return started == first || started == first+w || started == n-w || started == n
}

// first is the start from which on starts are counted.
const first = 5

// A Cost is the CPU time of one start, ns.
type Cost struct {
	Wardd  int64 `json:"wardd_ns"`  // of wardd's processes
	Domain int64 `json:"domain_ns"` // of the domain's own, from the first thing that it does for its start until it waits
}

// each is the cost of one start between two samples.
func each(from, to sample, pids []int) (c Cost) {
	n := int64(to.started - from.started)
	c.Wardd = (to.cpu - from.cpu) / n
	for _, pid := range pids[from.started:to.started] {
		c.Domain += cpuOf(pid) / n
	}
	return c
}
