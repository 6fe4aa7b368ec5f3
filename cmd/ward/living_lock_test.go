package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// locks locks a directory, what is in it and what it is in, as far as whoever runs
// it may open them, says how many those were, and waits until its input ends.
const locks = `n=0
try() { if [ -r "$2" ] && eval "exec $1<\"\$2\"" && flock -n -x $1; then n=$((n + 1)); fi; }
try 3 "$1"; try 4 "$1/log"; try 5 "$1/lock"; try 6 "$1/audit.jsonl"; try 7 "$1/.."; try 8 "$1/../.clearing"
echo locked $n
read end`

// TestAttackLockEnded: an ordinary user who locks all that it may open in the run
// directories of root keeps none of them from being cleared: what a system needs
// only while it lives goes, and the directory of one that ended long ago. The
// control: where the holder's lock is held, which that user may not open, all stays.
func TestAttackLockEnded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it locks as another user")
	}
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("needs flock of util-linux")
	}
	inRunRoot(t)
	for dir := runRoot; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(name string, live bool) (dir string) {
		dir = lockedDir(t, name, live)
		cmd := exec.Command("/bin/sh", "-c", locks, "locks", dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		var locked int
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		} else if _, err := fmt.Sscanf(line, "locked %d", &locked); err != nil || locked < 2 || locked > 3 {
			t.Fatalf("the user locked another number of them, so this shows nothing: %q, %v", line, err)
		}
		return dir
	}
	oldest := begin("oldest", false)
	long := unix.NsecToTimeval(1e12)
	if err := unix.Utimes(filepath.Join(oldest, "audit.jsonl"), []unix.Timeval{long, long}); err != nil {
		t.Fatal(err)
	}
	for i := range keptEnded - 1 {
		lockedDir(t, fmt.Sprintf("newer-%02d", i), false)
	}
	dead, live := begin("dead", false), begin("live", true)
	clearEnded("mine")
	if isThere(dead) {
		t.Error("a user's lock kept a directory from being cleared")
	}
	if _, err := os.Lstat(oldest); err == nil {
		t.Error("a user's lock kept the directory of an old system from being removed")
	}
	if !isThere(live) {
		t.Error("the control: a system that lives was cleared")
	}
	// ward down --force clears one.
	dead = begin("again", false)
	clearEndedDir(dead)
	if isThere(dead) {
		t.Error("a user's lock kept ward down --force from clearing up")
	}
}
