package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
)

// ErrInUse is what errors.Is finds when a limit would be below what is used.
var ErrInUse = errors.New("in use")

// Change gives a cgroup whose processes run other limits: those of l that are
// not 0. A limit below what is used now is refused with ErrInUse, and then none
// is changed: no process is killed for it, and none that runs is in the way of
// the kernel's own threads. Of memory that means what is left when the kernel has
// given up its copies of files. Where no controller counts something, nothing
// happens. CPUWeight is not changed.
//
// What is used may grow between the look and the change: then processes of the
// cgroup get ENOMEM or EAGAIN, or are killed, as with any limit.
func (c *Cgroup) Change(l CgroupLimits) error {
	if dir := c.Limits["pids"]; dir != "" && l.Processes > 0 {
		if used := value(dir, "pids.current"); used > uint64(l.Processes) {
			return fmt.Errorf("%d processes and threads are %w", used, ErrInUse)
		}
	}
	memory := c.Limits["memory"]
	if memory != "" && l.Memory > 0 {
		if used := c.residue(memory); used > l.Memory {
			return fmt.Errorf("%d bytes of memory are %w", used, ErrInUse)
		}
		if err := changeMemory(memory, memory == c.Path, l.Memory); err != nil {
			return fmt.Errorf("%d bytes of memory are %w: %w", value(memory, "memory.usage_in_bytes"), ErrInUse, err)
		}
	}
	var errs []error
	if dir := c.Limits["pids"]; dir != "" && l.Processes > 0 {
		errs = append(errs, limitProcesses(dir, dir == c.Path, uint64(l.Processes)))
	}
	if dir := c.Limits["cpu"]; dir != "" && l.CPU > 0 {
		errs = append(errs, limitCPU(dir, dir == c.Path, uint64(l.CPU)))
	}
	return errors.Join(errs...)
}

// residue is what of a cgroup's memory the kernel cannot give up.
func (c *Cgroup) residue(dir string) uint64 {
	file, active, inactive := "memory.usage_in_bytes", "total_active_file", "total_inactive_file"
	if dir == c.Path {
		file, active, inactive = "memory.current", "active_file", "inactive_file"
	}
	used := value(dir, file)
	for _, key := range []string{active, inactive} {
		if n, err := readKey(filepath.Join(dir, "memory.stat"), key); err == nil {
			used -= min(used, n)
		}
	}
	return used
}

// changeMemory sets the limit of memory. In version 1 the limit of memory with swap is
// never below that without, whichever way both go.
func changeMemory(dir string, v2 bool, bytes uint64) error {
	if v2 {
		return writeControl(dir, "memory.max", bytes)
	}
	const with, without = "memory.memsw.limit_in_bytes", "memory.limit_in_bytes"
	if bytes > value(dir, without) {
		return errors.Join(writeIfThere(dir, with, bytes), writeControl(dir, without, bytes))
	}
	if err := writeControl(dir, without, bytes); err != nil {
		return err
	}
	return writeIfThere(dir, with, bytes)
}
