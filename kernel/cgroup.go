package kernel

import (
	"bufio"
	"errors"
	"fmt"
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
// domain, or for each family of domains (cgroup_family.go). Version 2 serves as identity, and to kill; limits are set in
// whichever version has the controller.
type CgroupTree struct {
	name    string
	path    string            // in the v2 hierarchy
	v1      map[string]string // controller: where its v1 hierarchy is mounted, and below it the caller's own cgroup
	made    map[string]bool   // v1 directories of this tree
	enabled map[string]bool   // v2 controllers that children have, or cannot have
	weights map[string]uint64 // CPU weight of each domain and family right below the system
	weight  uint64            // that is set for all together; 0: none

	inFamily map[string]string // where those domains are that are in a family, below the system
}

// A Cgroup is the cgroup of one domain.
type Cgroup struct {
	ID   uint64 // as bpf_get_current_cgroup_id returns it
	Path string
	// Where the limits are set: files that say what is used and refused. A
	// controller that sets none has none.
	Limits map[string]string // controller: directory

	name string
	tree *CgroupTree
	dir  *os.File
	v1   []*os.File // tasks of v1 cgroups to join
	v1s  []string
}

// cgroupMounts returns where v2 is mounted, and for each controller of v1 the
// cgroup in which this process is.
func cgroupMounts() (v2 string, v1 map[string]string, err error) {
	if v2, v1, err = readMounts(); err == nil {
		err = below(v1)
	}
	return v2, v1, err
}

// readMounts reads where the hierarchies are mounted.
func readMounts() (v2 string, v1 map[string]string, err error) {
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

// below adds to each v1 hierarchy the cgroup in which this process is: what
// bounds it, a container or a service, bounds the domains too. (No process of
// its own stands in the way, as it would in v2.)
func below(v1 map[string]string) error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) { // 4:memory:/path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[0] == "0" {
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			if at := v1[c]; at != "" && isDir(filepath.Join(at, f[2])) {
				v1[c] = filepath.Join(at, f[2])
			}
		}
	}
	return nil
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
	t := newTree(name, v2, v1)
	if err := os.Mkdir(t.path, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return t, nil
}

func newTree(name, v2 string, v1 map[string]string) *CgroupTree {
	return &CgroupTree{name: name, path: filepath.Join(v2, name), v1: v1, made: map[string]bool{}, enabled: map[string]bool{},
		weights: map[string]uint64{}, inFamily: map[string]string{}}
}

// Path returns the directory of the tree in the v2 hierarchy.
func (t *CgroupTree) Path() string { return t.path }

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
	return writeText(dir, file, strconv.FormatUint(value, 10))
}

func writeText(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
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
	c.Born()
	c.tree.uncount(c.tree.below(c.name))
	errs := []error{removeCgroup(c.Path)}
	for _, d := range c.v1s {
		errs = append(errs, removeCgroup(d))
	}
	err := errors.Join(errs...)
	if err == nil {
		c.tree.leave(c.name)
	}
	return err
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
		errs = append(errs, removeBelow(top), removeCgroup(top))
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
