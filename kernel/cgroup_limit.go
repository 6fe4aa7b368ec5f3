package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// CgroupLimits bound what all processes of a domain use together. 0: no limit.
type CgroupLimits struct {
	Memory    uint64 // bytes; swap comes on top of it nowhere
	CPUWeight uint32 // 1 to 10,000; 100 is what others have
	CPU       uint32 // percent of one processor: a hard limit
	Processes uint32 // and threads
}

// maxTreeWeight bounds the CPU weight of a system. It has the weights of its
// domains together, so that each has its own against the host's processes, but
// not so much that many domains leave the host nothing.
const maxTreeWeight = 1000

// cpuPeriod is the period of a hard limit of CPU time, µs: the kernel's default.
const cpuPeriod = 100_000

// New makes the cgroup of a domain. A limit of must that no controller can
// enforce is an error; one of may is then left out. What must says goes first.
func (t *CgroupTree) New(p CgroupPlace, must, may CgroupLimits) (_ *Cgroup, err error) {
	weight := must.CPUWeight
	if weight == 0 {
		weight = may.CPUWeight
	}
	if err := t.place(p, uint64(weight)); err != nil {
		return nil, err
	}
	c := &Cgroup{Path: t.at(t.path, p.Name), Limits: map[string]string{}, tree: t, name: p.Name}
	if err := os.Mkdir(c.Path, 0o755); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			t.leave(p.Name)
		}
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	defer func() {
		if err != nil {
			c.Remove()
		}
	}()
	if c.dir, err = os.Open(c.Path); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(c.dir.Fd()), &st); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", c.Path, err)
	}
	c.ID = st.Ino
	for _, l := range []struct {
		controller string
		must, may  uint64
		set        func(dir string, v2 bool, value uint64) error
	}{
		{"memory", must.Memory, may.Memory, limitMemory},
		{"cpu", uint64(must.CPUWeight), uint64(may.CPUWeight), func(dir string, v2 bool, w uint64) error { return t.weigh(c, dir, v2, w) }},
		{"cpu", uint64(must.CPU), uint64(may.CPU), limitCPU},
		{"pids", uint64(must.Processes), uint64(may.Processes), limitProcesses},
	} {
		value := l.must
		if value == 0 {
			value = l.may
		}
		if value == 0 {
			continue
		}
		dir, v2, err := t.directory(c, l.controller)
		if errors.Is(err, errNoController) && l.must == 0 {
			continue
		}
		if err == nil {
			err = l.set(dir, v2, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func limitMemory(dir string, v2 bool, bytes uint64) error {
	if v2 {
		return errors.Join(writeControl(dir, "memory.max", bytes), writeIfThere(dir, "memory.swap.max", 0))
	}
	return errors.Join(writeControl(dir, "memory.limit_in_bytes", bytes), writeIfThere(dir, "memory.memsw.limit_in_bytes", bytes))
}

func limitCPU(dir string, v2 bool, percent uint64) error {
	quota := percent * cpuPeriod / 100
	if v2 {
		return writeText(dir, "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod))
	}
	return errors.Join(writeControl(dir, "cpu.cfs_period_us", cpuPeriod), writeControl(dir, "cpu.cfs_quota_us", quota))
}

func limitProcesses(dir string, _ bool, n uint64) error { return writeControl(dir, "pids.max", n) }

// weigh sets the CPU weight of a domain, and what the system weighs with it.
func (t *CgroupTree) weigh(c *Cgroup, dir string, v2 bool, weight uint64) error {
	if err := writeWeight(dir, v2, weight); err != nil {
		return err
	}
	return t.count(t.below(c.name), weight)
}

func writeWeight(dir string, v2 bool, weight uint64) error {
	if v2 {
		return writeControl(dir, "cpu.weight", weight)
	}
	// A v1 share of 1,024 corresponds to a v2 weight of 100.
	return writeControl(dir, "cpu.shares", max(2, weight*1024/100))
}

var errNoController = errors.New("in no mounted hierarchy; mount it, or leave the quota out")

// directory is where a controller's limits of c are set: in the v2 cgroup if v2
// has the controller, else in one of the v1 hierarchy, which is made, and which
// the domain joins.
func (t *CgroupTree) directory(c *Cgroup, controller string) (dir string, v2 bool, err error) {
	if dir := c.Limits[controller]; dir != "" {
		return dir, dir == c.Path, nil
	}
	if t.enable(controller) {
		c.Limits[controller] = c.Path
		return c.Path, true, nil
	}
	mount, ok := t.v1[controller]
	if !ok {
		return "", false, fmt.Errorf("cgroup: the %s controller is %w", controller, errNoController)
	}
	top := filepath.Join(mount, t.name)
	if err := t.makeTop(top); err != nil {
		return "", false, err
	}
	dir = t.at(top, c.name)
	c.Limits[controller] = dir
	if slices.Contains(c.v1s, dir) {
		return dir, false, nil // of another controller of the same hierarchy
	}
	// What is there already a creator left that died while it removed it.
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", false, fmt.Errorf("cgroup: %w", err)
	}
	c.v1s = append(c.v1s, dir)
	// Not cgroup.procs: moving a process takes a lock that all forks of the
	// machine wait for, and a grace period. A thread that moves itself, and
	// the child is one thread still, takes neither (kernel/cgroup/cgroup.c,
	// cgroup_attach_lock; since 5.5).
	tasks, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
	if err != nil {
		return "", false, fmt.Errorf("cgroup: %w", err)
	}
	c.v1 = append(c.v1, tasks)
	return dir, false, nil
}

// makeTop makes the system's directory in a hierarchy of v1.
func (t *CgroupTree) makeTop(top string) error {
	if t.made[top] {
		return nil
	}
	if err := os.Mkdir(top, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cgroup: %w", err)
	}
	t.made[top] = true
	return nil
}

// Born says that the domain's process is in the cgroup: the descriptors that
// were for that are closed.
func (c *Cgroup) Born() {
	if c.dir != nil {
		c.dir.Close()
		c.dir = nil
	}
	for _, f := range c.v1 {
		f.Close()
	}
	c.v1 = nil
}

// enable makes a v2 controller available to the children of the tree, and
// says whether it could.
func (t *CgroupTree) enable(controller string) bool {
	can, known := t.enabled[controller]
	if !known {
		can = t.tryEnable(controller)
		t.enabled[controller] = can
	}
	return can
}

func (t *CgroupTree) tryEnable(controller string) bool {
	for _, dir := range []string{filepath.Dir(t.path), t.path} {
		if !hasWord(filepath.Join(dir, "cgroup.controllers"), controller) {
			return false
		}
		if hasWord(filepath.Join(dir, "cgroup.subtree_control"), controller) {
			continue
		}
		if os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0) != nil {
			return false
		}
	}
	return true
}

// writeIfThere writes a limit that the kernel may not have: without swap there
// is no file for it.
func writeIfThere(dir, file string, value uint64) error {
	if err := writeControl(dir, file, value); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
