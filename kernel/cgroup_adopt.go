package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenCgroupTree makes the cgroup of a system, or takes over that of a creator
// before this one.
func OpenCgroupTree(name string) (*CgroupTree, error) {
	t, err := NewCgroupTree(name)
	if !errors.Is(err, fs.ErrExist) {
		return t, err
	}
	v2, v1, err := cgroupMounts()
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	t = &CgroupTree{name: name, path: filepath.Join(v2, name), v1: v1, made: map[string]bool{}, enabled: map[string]bool{}, weights: map[string]uint64{}}
	for _, mount := range v1 {
		if top := filepath.Join(mount, name); isDir(top) {
			t.made[top] = true
		}
	}
	return t, nil
}

// Open takes over the cgroup of a domain that runs.
func (t *CgroupTree) Open(domain string) (*Cgroup, error) {
	c := &Cgroup{Path: filepath.Join(t.path, domain), tree: t, Limits: map[string]string{}}
	var err error
	if c.dir, err = os.Open(c.Path); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(c.dir.Fd()), &st); err != nil {
		c.dir.Close()
		return nil, fmt.Errorf("cgroup %s: %w", c.Path, err)
	}
	c.ID = st.Ino
	for top := range t.made {
		if dir := filepath.Join(top, domain); isDir(dir) {
			c.v1s = append(c.v1s, dir)
		}
	}
	t.findLimits(c, domain)
	return c, nil
}

// findLimits finds where the limits of a cgroup that was taken over are, and
// what it weighs.
func (t *CgroupTree) findLimits(c *Cgroup, domain string) {
	for _, controller := range []string{"memory", "cpu", "pids"} {
		if mount, ok := t.v1[controller]; ok {
			if dir := filepath.Join(mount, t.name, domain); isDir(dir) {
				c.Limits[controller] = dir
				continue
			}
		}
		if hasWord(filepath.Join(c.Path, "cgroup.controllers"), controller) {
			c.Limits[controller] = c.Path
		}
	}
	dir := c.Limits["cpu"]
	if dir == "" {
		return
	}
	file, scale := "cpu.weight", uint64(1)
	if dir != c.Path {
		file, scale = "cpu.shares", 1024/100
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
		t.weights[c.Path] = max(1, n/scale)
	}
}

// Clear ends what is left in the cgroup of a domain that nobody knows, and
// removes it. If there is none, nothing happens.
func (t *CgroupTree) Clear(domain string) error {
	if !isDir(filepath.Join(t.path, domain)) {
		return nil
	}
	c, err := t.Open(domain)
	if err != nil {
		return err
	}
	return errors.Join(c.Kill(), c.Remove())
}
