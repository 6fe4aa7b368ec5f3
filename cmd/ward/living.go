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

	"ward/kernel"
	"ward/monitor/admin"
)

// A system lives as long as its holder, which holds a lock in the run directory
// from before it puts anything else there to its end, in whatever way it ends. That
// something stands in the directory says nothing: a holder that is killed removes
// nothing. That a process listens on a socket there does.

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
//
// The kernel's list has no locks of processes that cannot be seen from here (another
// PID namespace), and some file systems have other numbers there than stat(2)
// says.
func lives(dir string) bool {
	pid, err := holderOf(dir)
	return err != nil || pid != 0 || isLocked(filepath.Join(dir, lockFile)) || answers(dir)
}

// isLocked reports whether somebody holds a lock on a file or directory that
// keeps others out. Of what may not be opened it is not known.
func isLocked(path string) bool {
	fd, err := shared(path)
	if err == nil {
		unix.Close(fd)
	}
	return err == unix.EWOULDBLOCK
}

// shared opens and locks path, together with others who do so and with no wardd. The
// caller closes it.
func shared(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// answers reports whether a process has the monitor's socket. It is asked for a
// connection of another type than it takes, so that it does not notice.
func answers(dir string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return true // unknown
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, admin.Socket)})
	return err == nil || err == unix.EAGAIN || err == unix.EPROTOTYPE
}

// mayLive reports whether any process may be left of a system whose lock nobody
// holds: of a holder that was killed and whose domains have not ended yet. What it
// needs must not be taken from it. A lock on the directory says nothing: whoever
// may read a directory may lock it.
func mayLive(dir string) bool {
	return answers(dir) || kernel.SystemInUse(filepath.Base(dir))
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
	clearing, err := clearAlone(runRoot)
	if err != nil {
		return // somebody else does
	}
	defer clearing.Close()
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

// clearingFile is locked by who clears up. The lock of a run directory is then shared, so that
// nobody takes who clears up for the holder of a system, and kills it.
const clearingFile = ".clearing"

// clearAlone locks it, or fails at once.
func clearAlone(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, clearingFile), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// whileEnded calls do with the lock on a run directory, unless a system has it,
// or a process of one may be left. One that starts meanwhile waits, or makes the
// directory anew (lockDir of wardd). Where there is no lock nothing is done, and none
// is made: a system is about to start there, or somebody removes the directory.
//
// Preconditions: clearAlone.
func whileEnded(dir string, do func()) {
	if mayLive(dir) {
		return
	}
	path := filepath.Join(dir, lockFile)
	fd, err := shared(path)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var have, is unix.Stat_t
	if unix.Fstat(fd, &have) == nil && unix.Lstat(path, &is) == nil && have.Ino == is.Ino && have.Dev == is.Dev && !mayLive(dir) {
		do()
	}
}

// clearEndedDir is clearLiving of one system that has ended, if nobody else clears up.
func clearEndedDir(dir string) {
	if clearing, err := clearAlone(filepath.Dir(dir)); err == nil {
		defer clearing.Close()
		whileEnded(dir, func() { clearLiving(dir) })
	}
}
