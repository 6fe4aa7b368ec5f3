package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A system lives as long as its holder, which holds a lock in the run directory
// from before it puts anything else there to its end, in whatever way it ends. What
// stands in the directory says nothing: a holder that is killed removes nothing.

// lockFile is that of wardd (lockDir). Only its owner may open it, so nobody else locks it.
const lockFile = "lock"

// holderOf is the process that holds the lock of a run directory; 0: no system lives there.
//
// The kernel's list is read and the lock not tried: who tries it keeps a system
// from starting for that moment.
func holderOf(dir string) (pid int, err error) {
	var st unix.Stat_t
	err = unix.Lstat(filepath.Join(dir, lockFile), &st)
	if err == unix.ENOENT {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, lockFile), err)
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	object := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for s := bufio.NewScanner(f); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF; a waiter has "->" after its number
		w := strings.Fields(s.Text())
		if len(w) < 6 || w[1] != "FLOCK" || w[3] != "WRITE" || w[5] != object {
			continue
		}
		return strconv.Atoi(w[4])
	}
	return 0, nil
}

// lives reports whether a system lives in a run directory. If that cannot be known it does.
func lives(dir string) bool {
	pid, err := holderOf(dir)
	return err != nil || pid != 0
}

// What is of use only while a system lives.
var ofTheLiving = []string{"*.sock", sourceFile, liveFile, hashFile}

// keptEnded is how many directories of systems that have ended are kept, with
// their audit files and logs, for whoever wants to know how they ended.
const keptEnded = 16

// endedPrefix is before the name of a directory that is being removed.
const endedPrefix = ".ended-"

// clearEnded clears up after systems that have ended: of the last few it leaves
// audit files and logs, of all others nothing. It is best effort: what cannot be
// removed stays, and who starts a system of a name takes its directory over.
// except is the name of a system that is about to start.
func clearEnded(except string) {
	entries, err := os.ReadDir(runRoot)
	if err != nil {
		return
	}
	type old struct {
		dir  string
		when int64
	}
	var ended []old
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), endedPrefix) { // whoever was to remove it did not come to the end
			os.RemoveAll(filepath.Join(runRoot, e.Name()))
		}
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == except {
			continue
		}
		dir := filepath.Join(runRoot, e.Name())
		if lives(dir) {
			continue
		}
		o := old{dir: dir}
		if info, err := os.Stat(filepath.Join(dir, "audit.jsonl")); err == nil {
			o.when = info.ModTime().UnixNano()
		}
		ended = append(ended, o)
	}
	slices.SortFunc(ended, func(a, b old) int { return int(min(max(b.when-a.when, -1), 1)) })
	for i, o := range ended {
		whileEnded(o.dir, func() {
			if i < keptEnded {
				clearLiving(o.dir)
				return
			}
			// Under another name first: nobody starts a system in a directory that is being removed.
			if away := filepath.Join(runRoot, endedPrefix+filepath.Base(o.dir)); os.Rename(o.dir, away) == nil {
				os.RemoveAll(away)
			}
		})
	}
}

// clearLiving removes what is of use only while a system lives.
//
// Preconditions: the lock on dir is held.
func clearLiving(dir string) {
	for _, pattern := range ofTheLiving {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, name := range names {
			os.Remove(name)
		}
	}
}

// whileEnded calls do with the lock on a run directory, unless a system has it. One
// that starts meanwhile waits, or makes the directory anew (lockDir of wardd).
func whileEnded(dir string, do func()) {
	path := filepath.Join(dir, lockFile)
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	var have, is unix.Stat_t
	if unix.Fstat(fd, &have) == nil && unix.Lstat(path, &is) == nil && have.Ino == is.Ino && have.Dev == is.Dev {
		do()
	}
}
