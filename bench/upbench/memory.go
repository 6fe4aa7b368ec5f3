package upbench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Process is one of wardd's. Memory is in KiB: RSS counts a page in every
// process that has it, PSS shares it out between them.
type Process struct {
	Role string `json:"role"` // holder, monitor, creator, audit
	PID  int    `json:"pid"`
	RSS  int    `json:"rss_kib"`
	PSS  int    `json:"pss_kib"`
}

// roles lists the holder and its children.
func roles(holder int) ([]Process, error) {
	processes := []Process{{Role: "holder", PID: holder}}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", holder, holder))
	if err != nil {
		return nil, fmt.Errorf("processes of wardd: %w", err)
	}
	for _, field := range strings.Fields(string(children)) {
		line, err := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
		pid, bad := strconv.Atoi(field)
		if args := strings.Split(string(line), "\x00"); err == nil && bad == nil && len(args) > 1 && args[0] == "wardd" {
			processes = append(processes, Process{Role: args[1], PID: pid})
		}
	}
	return processes, nil
}

// measure reads the memory of the holder and its children.
func measure(holder int) ([]Process, error) {
	processes, err := roles(holder)
	if err != nil {
		return nil, err
	}
	for i := range processes {
		p := &processes[i]
		if p.RSS, err = field(p.PID, "status", "VmRSS:"); err != nil {
			return nil, err
		}
		if p.PSS, err = field(p.PID, "smaps_rollup", "Pss:"); err != nil {
			return nil, err
		}
	}
	return processes, nil
}

// field reads a number of KiB from a file of a process.
func field(pid int, file, name string) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) > 1 && words[0] == name {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fmt.Errorf("%s has no %s", f.Name(), name)
}
