package monitor

import (
	"os"
	"path/filepath"
	"testing"
)

// A socket that users trust stands where only root can put one.
func TestSafeDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes directories of others")
	}
	top := t.TempDir()
	make := func(name string, mode os.FileMode, uid int) string {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path string
		ok   bool
	}{
		{make("good", 0o755, 0), true},
		{make("sticky", 0o777|os.ModeSticky, 0), true},
		{make("open", 0o777, 0), false},
		{make("group", 0o775, 0), false},
		{make("theirs", 0o755, 65534), false},
		{make("theirs/ours", 0o755, 0), false},
		{filepath.Join(top, "none"), false},
	} {
		if err := safeDirectory(c.path); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	for target, ok := range map[string]bool{"good": true, "open": false} {
		link := filepath.Join(top, "to-"+target)
		if err := os.Symlink(filepath.Join(top, target), link); err != nil {
			t.Fatal(err)
		}
		if err := safeDirectory(link); (err == nil) != ok {
			t.Errorf("a link to %s: %v", target, err)
		}
	}
	theirs := filepath.Join(top, "theirs", "link")
	if err := os.Symlink(filepath.Join(top, "good"), theirs); err != nil {
		t.Fatal(err)
	}
	if err := safeDirectory(theirs); err == nil {
		t.Error("a link that somebody else can change was followed")
	}
}
