package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2: no cgroup v2 hierarchy is mounted. Domains then have no cgroup
// ID, and their user IDs and PID namespaces alone hold them together.
var ErrNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup)")

// A CgroupTree is the cgroup of one running system, with a child for each
// domain. Version 2 serves as identity, and to kill; limits are set in
// whichever version has the controller.
type CgroupTree struct {
	name string
	path string            // in the v2 hierarchy
	v1   map[string]string // controller: mount point of its v1 hierarchy
	made map[string]bool   // v1 directories of this tree
}

// CgroupLimits bound what all processes of a domain use together. 0: no limit
// of its own. A limit that no controller can enforce is an error.
type CgroupLimits struct {
	Memory    uint64 // bytes
	CPUWeight uint32 // 1 to 10,000; 100 is what others have
	Processes uint32 // set where v2 has the controller; RLIMIT_NPROC is set anyway
}

// A Cgroup is the cgroup of one domain.
type Cgroup struct {
	ID   uint64 // as bpf_get_current_cgroup_id returns it
	Path string
	dir  *os.File
	v1   []*os.File // cgroup.procs of v1 cgroups to join
	v1s  []string
}

// cgroupMounts reads where the hierarchies are mounted.
func cgroupMounts() (v2 string, v1 map[string]string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	v1 = map[string]string{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// 36 35 98:0 /root /mount options optional… - type source superoptions
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		at := strings.ReplaceAll(left[4], `\040`, " ")
		switch right[0] {
		case "cgroup2":
			if v2 == "" {
				v2 = at
			}
		case "cgroup":
			for _, o := range strings.Split(right[2], ",") {
				v1[o] = at
			}
		}
	}
	return v2, v1, nil
}

// NewCgroupTree makes the cgroup of a system. The name must be a file name
// that nothing else uses.
func NewCgroupTree(name string) (*CgroupTree, error) {
	v2, v1, err := cgroupMounts()
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	if v2 == "" {
		return nil, ErrNoCgroup2
	}
	t := &CgroupTree{name: name, path: filepath.Join(v2, name), v1: v1, made: map[string]bool{}}
	if err := os.Mkdir(t.path, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return t, nil
}

// Path returns the directory of the tree in the v2 hierarchy.
func (t *CgroupTree) Path() string { return t.path }

// New makes the cgroup of a domain.
func (t *CgroupTree) New(domain string, l CgroupLimits) (_ *Cgroup, err error) {
	c := &Cgroup{Path: filepath.Join(t.path, domain)}
	if err := os.Mkdir(c.Path, 0o755); err != nil {
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
	if l.Memory != 0 {
		if err := t.limit(c, "memory", "memory.max", l.Memory, "memory.limit_in_bytes", l.Memory); err != nil {
			return nil, err
		}
	}
	if l.CPUWeight != 0 {
		// A v1 share of 1,024 corresponds to a v2 weight of 100.
		if err := t.limit(c, "cpu", "cpu.weight", uint64(l.CPUWeight), "cpu.shares", max(2, uint64(l.CPUWeight)*1024/100)); err != nil {
			return nil, err
		}
	}
	if l.Processes != 0 && t.enable("pids") {
		if err := writeControl(c.Path, "pids.max", uint64(l.Processes)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// limit writes one limit where its controller is.
func (t *CgroupTree) limit(c *Cgroup, controller, file string, value uint64, fileV1 string, valueV1 uint64) error {
	if t.enable(controller) {
		return writeControl(c.Path, file, value)
	}
	mount, ok := t.v1[controller]
	if !ok {
		return fmt.Errorf("cgroup: the %s controller is in no mounted hierarchy; mount it, or leave the quota out", controller)
	}
	top := filepath.Join(mount, t.name)
	if err := os.Mkdir(top, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cgroup: %w", err)
	}
	t.made[top] = true
	dir := filepath.Join(top, filepath.Base(c.Path))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cgroup: %w", err)
	}
	c.v1s = append(c.v1s, dir)
	if err := writeControl(dir, fileV1, valueV1); err != nil {
		return err
	}
	procs, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	c.v1 = append(c.v1, procs)
	return nil
}

// enable makes a v2 controller available to the children of the tree, and
// says whether it could.
func (t *CgroupTree) enable(controller string) bool {
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

func hasWord(file, word string) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for _, w := range strings.Fields(string(b)) {
		if w == word {
			return true
		}
	}
	return false
}

func writeControl(dir, file string, value uint64) error {
	if err := os.WriteFile(filepath.Join(dir, file), strconv.AppendUint(nil, value, 10), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// Kill ends all processes of the cgroup at once, also those that fork just now.
func (c *Cgroup) Kill() error {
	if err := os.WriteFile(filepath.Join(c.Path, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// Remove removes the cgroup; its processes must have ended or be about to.
func (c *Cgroup) Remove() error {
	if c.dir != nil {
		c.dir.Close()
	}
	for _, f := range c.v1 {
		f.Close()
	}
	errs := []error{removeCgroup(c.Path)}
	for _, d := range c.v1s {
		errs = append(errs, removeCgroup(d))
	}
	return errors.Join(errs...)
}

// Kill ends all processes of the system.
func (t *CgroupTree) Kill() error {
	if err := os.WriteFile(filepath.Join(t.path, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// Remove removes the tree and what is left below it.
func (t *CgroupTree) Remove() error {
	var errs []error
	for _, top := range append(slices.Collect(maps.Keys(t.made)), t.path) {
		entries, err := os.ReadDir(top)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if e.IsDir() {
				errs = append(errs, removeCgroup(filepath.Join(top, e.Name())))
			}
		}
		errs = append(errs, removeCgroup(top))
	}
	return errors.Join(errs...)
}

// removeWait bounds the wait for the last processes of a cgroup to be gone.
const removeWait = 5 * time.Second

// removeCgroup removes one directory. While a process of it is still ending,
// it waits for the kernel to say that the cgroup is empty; v1 cannot say so,
// but is tried again as often.
func removeCgroup(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	events, openErr := os.Open(filepath.Join(dir, "cgroup.events"))
	if openErr == nil {
		defer events.Close()
	}
	for end := time.Now().Add(removeWait); err == unix.EBUSY && time.Now().Before(end); {
		p := []unix.PollFd{}
		if openErr == nil {
			var b [256]byte
			unix.Pread(int(events.Fd()), b[:], 0) // arms the notification
			p = append(p, unix.PollFd{Fd: int32(events.Fd()), Events: unix.POLLPRI})
		}
		if err = unix.Rmdir(dir); err == nil || err == unix.ENOENT {
			return nil
		}
		unix.Poll(p, 20)
	}
	return fmt.Errorf("cgroup: remove %s: %w", dir, err)
}

// CgroupControllers says for each mounted controller in which version of
// cgroups a limit would be set: "v1" or "v2".
func CgroupControllers() (map[string]string, error) {
	v2, v1, err := cgroupMounts()
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	out := map[string]string{}
	for c := range v1 {
		out[c] = "v1"
	}
	if v2 == "" {
		return out, nil
	}
	text, err := os.ReadFile(filepath.Join(v2, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	for _, c := range strings.Fields(string(text)) {
		out[c] = "v2"
	}
	return out, nil
}
