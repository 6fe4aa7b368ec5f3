package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CgroupUse is what the processes of a cgroup use now. A pointer is nil if
// nothing counts that.
type CgroupUse struct {
	Processes *uint64 // and threads
	Memory    *uint64 // bytes
	CPU       *uint64 // ns of CPU time so far
	Files     *uint64 // descriptors of the process that has most open; nil also if they may not be looked at
	AllFiles  *uint64 // … of all processes
	Limits    CgroupLimits
}

// UseOf reads what the cgroup of a process uses, and the limits that are in
// force for it. It needs root to count descriptors of others.
func UseOf(pid int) (*CgroupUse, error) {
	v2, v1, err := readMounts()
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	at := map[string]string{} // controller: directory; "": v2
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[0] == "0" && v2 != "" {
			at[""] = filepath.Join(v2, f[2])
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			if mount := v1[c]; mount != "" {
				at[c] = filepath.Join(mount, f[2])
			}
		}
	}
	u := &CgroupUse{}
	if dir := at[""]; dir != "" {
		if usec, err := readKey(filepath.Join(dir, "cpu.stat"), "usage_usec"); err == nil {
			ns := usec * 1000
			u.CPU = &ns
		}
		u.Files, u.AllFiles = countFiles(dir)
	}
	in := func(controller, v2file string) string { // where the controller counts
		if _, err := os.Lstat(filepath.Join(at[""], v2file)); at[""] != "" && err == nil {
			return at[""]
		}
		return at[controller]
	}
	if dir := in("pids", "pids.current"); dir != "" {
		u.Processes, u.Limits.Processes = number(dir, "pids.current"), uint32(value(dir, "pids.max"))
	}
	switch dir := in("memory", "memory.current"); dir {
	case "":
	case at[""]:
		u.Memory, u.Limits.Memory = number(dir, "memory.current"), value(dir, "memory.max")
	default:
		u.Memory, u.Limits.Memory = number(dir, "memory.usage_in_bytes"), value(dir, "memory.limit_in_bytes")
		if u.Limits.Memory > 1<<62 { // as v1 says "no limit"
			u.Limits.Memory = 0
		}
	}
	switch dir := in("cpu", "cpu.weight"); dir {
	case "":
	case at[""]:
		var quota, period uint64
		if text, err := os.ReadFile(filepath.Join(dir, "cpu.max")); err == nil {
			if n, _ := fmt.Sscan(string(text), &quota, &period); n == 2 && period > 0 { // "max 100000" is no limit
				u.Limits.CPU = uint32(quota * 100 / period)
			}
		}
		u.Limits.CPUWeight = uint32(value(dir, "cpu.weight"))
	default:
		if period := value(dir, "cpu.cfs_period_us"); period > 0 {
			u.Limits.CPU = uint32(value(dir, "cpu.cfs_quota_us") * 100 / period) // -1, no limit, is no number
		}
		u.Limits.CPUWeight = uint32(value(dir, "cpu.shares") * 100 / 1024)
	}
	return u, nil
}

func number(dir, file string) *uint64 {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil { // "max"
		return nil
	}
	return &n
}

func value(dir, file string) uint64 {
	if n := number(dir, file); n != nil {
		return *n
	}
	return 0
}

// countFiles counts the descriptors of the processes of a cgroup: of the one
// that has most, and of all. One that several processes share counts for each.
func countFiles(dir string) (most, all *uint64) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, nil
	}
	for _, pid := range strings.Fields(string(text)) {
		entries, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return nil, nil
		}
		if most == nil {
			most, all = new(uint64), new(uint64)
		}
		n := uint64(len(entries))
		*most, *all = max(*most, n), *all+n
	}
	return most, all
}
