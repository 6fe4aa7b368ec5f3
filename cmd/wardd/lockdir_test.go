package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A run directory has one system at a time; one that was cleared away while it
// was waited for is made anew.
func TestLockDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	lock, err := lockDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(path); err == nil || !strings.Contains(err.Error(), "is running already") {
		t.Errorf("a second system of the name: %v", err)
	}
	if st, err := lock.Stat(); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("who may lock it: %v, %v", st.Mode(), err)
	}
	// The one who holds the lock clears the directory away, as `ward up` of another system does.
	got := make(chan error, 1)
	go func() {
		next, err := lockDir(path)
		if err == nil {
			defer next.Close()
			if !isAt(next, filepath.Join(path, lockFile)) {
				err = os.ErrNotExist
			}
		}
		got <- err
	}()
	if err := os.Rename(path, path+".ended"); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if err := <-got; err != nil {
		t.Errorf("the system that comes after: %v", err)
	}
}
