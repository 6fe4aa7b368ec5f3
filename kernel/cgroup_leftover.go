package kernel

import (
	"errors"
	"os"
	"path/filepath"
)

// RemoveCgroupTree kills what is left in the cgroup of a system whose creator
// died, and removes it. No such cgroup is no error.
func RemoveCgroupTree(name string) error {
	v2, v1, err := cgroupMounts()
	if err != nil || v2 == "" {
		return err
	}
	t := &CgroupTree{name: name, path: filepath.Join(v2, name), v1: v1, made: map[string]bool{}}
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

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}
