package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ward/monitor/admin"
)

// lockedDir is a run directory as a system leaves it, with its lock held or not.
func lockedDir(t *testing.T, name string, live bool) string {
	t.Helper()
	dir := filepath.Join(runRoot, name)
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"audit.jsonl", sourceFile, admin.Socket, lockFile} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if live {
		f, err := os.Open(filepath.Join(dir, lockFile))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inRunRoot(t *testing.T) {
	t.Helper()
	before := runRoot
	runRoot = t.TempDir()
	t.Cleanup(func() { runRoot = before })
}

// Whether a system lives is said by its lock alone.
func TestLiving(t *testing.T) {
	inRunRoot(t)
	live, dead := lockedDir(t, "live", true), lockedDir(t, "dead", false)
	if pid, err := holderOf(live); err != nil || pid != os.Getpid() {
		t.Errorf("the holder of a living system is %d, %v; it is %d", pid, err, os.Getpid())
	}
	if pid, err := holderOf(dead); err != nil || pid != 0 {
		t.Errorf("a system that has ended has the holder %d, %v", pid, err)
	}
	if got := runningSystems(); !slices.Equal(got, []string{"live"}) {
		t.Errorf("systems that run: %q", got)
	}
	if h, err := openHolder(dead); h != nil || err != nil {
		t.Errorf("a system that has ended has a process to kill: %+v, %v", h, err)
	}
}

// What ended systems leave is cleared up, and nothing else: not what lives, not
// the audit files of the last ones, not the directory of the one that starts.
func TestClearEnded(t *testing.T) {
	inRunRoot(t)
	live := lockedDir(t, "live", true)
	mine := lockedDir(t, "mine", false)
	var ended []string
	for i := range keptEnded + 3 {
		dir := lockedDir(t, fmt.Sprintf("ended-%02d", i), false)
		at := unix.NsecToTimeval(int64(i+1) * 1e12)
		if err := unix.Utimes(filepath.Join(dir, "audit.jsonl"), []unix.Timeval{at, at}); err != nil {
			t.Fatal(err)
		}
		ended = append(ended, dir)
	}
	if err := os.Mkdir(filepath.Join(runRoot, endedPrefix+"half"), 0o755); err != nil {
		t.Fatal(err)
	}
	clearEnded("mine")
	there := func(dir, file string) bool {
		_, err := os.Lstat(filepath.Join(dir, file))
		return err == nil
	}
	for _, dir := range []string{live, mine} {
		if !there(dir, admin.Socket) || !there(dir, sourceFile) || !there(dir, "audit.jsonl") {
			t.Errorf("%s was cleared", dir)
		}
	}
	for i, dir := range ended {
		if i < 3 && there(dir, ".") {
			t.Errorf("%s, an old one, is still there", dir)
		}
		if i >= 3 && (!there(dir, "audit.jsonl") || !there(dir, "log")) {
			t.Errorf("%s lost its audit file or logs", dir)
		}
		if there(dir, admin.Socket) || there(dir, sourceFile) {
			t.Errorf("%s has what only a living system needs", dir)
		}
	}
	if there(runRoot, endedPrefix+"half") {
		t.Error("what was half removed is still there")
	}
}
