package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
	t = newTree(name, v2, v1)
	for _, mount := range v1 {
		if top := filepath.Join(mount, name); isDir(top) {
			t.made[top] = true
		}
	}
	t.findFamilies()
	return t, nil
}

// Open takes over the cgroup of a domain that runs.
func (t *CgroupTree) Open(domain string) (*Cgroup, error) {
	c := &Cgroup{Path: t.at(t.path, domain), name: domain, tree: t, Limits: map[string]string{}}
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
		if dir := t.at(top, domain); isDir(dir) {
			c.v1s = append(c.v1s, dir)
		}
	}
	t.findLimits(c, domain)
	return c, nil
}

// findLimits finds where the limits of a cgroup that was taken over are.
func (t *CgroupTree) findLimits(c *Cgroup, domain string) {
	for _, controller := range []string{"memory", "cpu", "pids"} {
		if mount, ok := t.v1[controller]; ok {
			if dir := t.at(filepath.Join(mount, t.name), domain); isDir(dir) {
				c.Limits[controller] = dir
				continue
			}
		}
		if hasWord(filepath.Join(c.Path, "cgroup.controllers"), controller) {
			c.Limits[controller] = c.Path
		}
	}
}

// Clear ends what is left in the cgroup of a domain that nobody knows, and
// removes it. If there is none, nothing happens.
func (t *CgroupTree) Clear(domain string) error {
	if !isDir(t.at(t.path, domain)) {
		return nil
	}
	c, err := t.Open(domain)
	if err != nil {
		return err
	}
	return errors.Join(c.Kill(), c.Remove())
}
