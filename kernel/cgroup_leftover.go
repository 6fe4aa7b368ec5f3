package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RemoveCgroupTree kills what is left in the cgroup of a system whose creator
// died, and removes it. No such cgroup is no error.
func RemoveCgroupTree(name string) error {
	v2, v1, err := cgroupMounts()
	if err != nil || v2 == "" {
		return err
	}
	t := newTree(name, v2, v1)
	for _, mount := range v1 {
		if top := filepath.Join(mount, name); isDir(top) {
			t.made[top] = true
		}
	}
	if !isDir(t.path) {
		return t.Remove()
	}
	return errors.Join(t.Kill(), t.Remove())
}

// SystemInUse reports whether a process is in the cgroup of a system of that
// name, whoever its holder is or was: ward-NAME.PID. Where that cannot be known it
// is not in use.
func SystemInUse(system string) bool {
	v2, _, err := readMounts()
	if err != nil || v2 == "" {
		return false
	}
	entries, err := os.ReadDir(v2)
	if err != nil {
		return false
	}
	for _, e := range entries {
		holder, ok := strings.CutPrefix(e.Name(), "ward-"+system+".")
		if _, err := strconv.ParseUint(holder, 10, 32); !ok || err != nil {
			continue
		}
		if n, err := readKey(filepath.Join(v2, e.Name(), "cgroup.events"), "populated"); err == nil && n > 0 {
			return true
		}
	}
	return false
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}
