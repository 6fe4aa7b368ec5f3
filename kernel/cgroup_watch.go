package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A CgroupWatch tells when domains run into limits of their cgroups: a process
// that was not made, or one that was killed for want of memory. It costs two
// descriptors for all domains.
//
// The kernel says it by changing a file, which inotify(7) tells of
// (kernfs_notify), and for memory in v1 by an eventfd. Of processes in v1 it says
// nothing (6.18: the count grows, and no change of the file is told), so these
// files are read once a second. A domain can run into its limits many thousand
// times a second: after each notice the file is left alone for a while, and then
// read once more.
type CgroupWatch struct {
	inotify int
	oom     int // eventfd of all v1 memory cgroups
	byFile  map[int32]*limitFile
	of      map[uint32][]*limitFile
	due     map[*limitFile]time.Time // when these are read again
	v1due   time.Time                // … and all of v1's memory; zero: when something happens
	v1last  time.Time                // when something of v1's memory was told
	silent  map[*limitFile]bool      // of which the kernel tells nothing
	look    time.Time                // when these are read again
}

// A limitFile counts how often one domain ran into one limit.
type limitFile struct {
	key        uint32
	controller string
	path, name string // of the count: a line "name number" of the file
	count      uint64
	v1         bool
}

// A LimitHit says that a domain ran into a limit.
type LimitHit struct {
	Key        uint32 // as it was added
	Controller string // "pids": that many processes or threads were not made; "memory": that many processes were killed
	Count      uint64 // since the last hit
}

// hitPause is the time between two notices of the same domain and limit.
const hitPause = time.Second

// killDelay is how long after the notice a killed process is counted: v1 tells before it kills.
const killDelay = 100 * time.Millisecond

// NewCgroupWatch makes a watch of nothing.
func NewCgroupWatch() (*CgroupWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	oom, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &CgroupWatch{inotify: fd, oom: oom, byFile: map[int32]*limitFile{}, of: map[uint32][]*limitFile{}, due: map[*limitFile]time.Time{}, silent: map[*limitFile]bool{}}, nil
}

// Close ends the watch.
func (w *CgroupWatch) Close() error {
	return errors.Join(unix.Close(w.inotify), unix.Close(w.oom))
}

// Add watches the limits of a cgroup, which is told of by key.
func (w *CgroupWatch) Add(key uint32, c *Cgroup) error {
	for controller, dir := range c.Limits {
		f := &limitFile{key: key, controller: controller}
		switch {
		case controller == "pids":
			f.path, f.name = filepath.Join(dir, "pids.events"), "max"
		case controller == "memory" && dir == c.Path:
			f.path, f.name = filepath.Join(dir, "memory.events"), "oom_kill"
		case controller == "memory":
			f.path, f.name, f.v1 = filepath.Join(dir, "memory.oom_control"), "oom_kill", true
		default:
			continue
		}
		w.of[key] = append(w.of[key], f)
		if controller == "pids" && dir != c.Path {
			w.silent[f] = true
			continue
		}
		err := w.arm(f)
		if f.v1 {
			err = w.register(dir, f.path)
		}
		if err != nil {
			return fmt.Errorf("cgroup: watch %s: %w", f.path, err)
		}
	}
	return nil
}

// Known says that what a cgroup ran into until now was told before.
func (w *CgroupWatch) Known(key uint32) {
	for _, f := range w.of[key] {
		f.grown(nil)
	}
}

// Since says how often of each controller was told before, and returns what has come
// since. More than there was cannot have been told: then it is taken to be all.
func (w *CgroupWatch) Since(key uint32, told func(controller string) uint64) (hits []LimitHit) {
	for _, f := range w.of[key] {
		before := told(f.controller)
		if f.grown(nil); before < f.count {
			f.count = before
			hits = f.grown(hits)
		}
	}
	return hits
}

// register asks a v1 memory cgroup to tell of its want.
func (w *CgroupWatch) register(dir, control string) error {
	file, err := os.Open(control)
	if err != nil {
		return err
	}
	defer file.Close() // the registration holds what it needs
	return writeText(dir, "cgroup.event_control", fmt.Sprintf("%d %d", w.oom, file.Fd()))
}

// arm makes the next change of the file known.
func (w *CgroupWatch) arm(f *limitFile) error {
	delete(w.due, f)
	if f.v1 {
		return nil
	}
	wd, err := unix.InotifyAddWatch(w.inotify, f.path, unix.IN_MODIFY|unix.IN_ONESHOT)
	if err == nil {
		w.byFile[int32(wd)] = f
	}
	return err
}

// Remove forgets a cgroup that is about to be removed, and returns what it ran
// into that was not told yet.
func (w *CgroupWatch) Remove(key uint32) []LimitHit {
	var hits []LimitHit
	for wd, f := range w.byFile {
		if f.key == key {
			unix.InotifyRmWatch(w.inotify, uint32(wd))
			delete(w.byFile, wd)
		}
	}
	for _, f := range w.of[key] {
		delete(w.due, f)
		delete(w.silent, f)
		hits = f.grown(hits)
	}
	delete(w.of, key)
	return hits
}

// Files are the descriptors that become readable when Read has something to do.
func (w *CgroupWatch) Files() []int { return []int{w.inotify, w.oom} }

// Wait is how long Read may be put off if no descriptor becomes readable; negative: for ever.
func (w *CgroupWatch) Wait(now time.Time) time.Duration {
	next := w.v1due
	if len(w.silent) > 0 && (next.IsZero() || w.look.Before(next)) {
		next = w.look
		if next.IsZero() { // none was read yet
			return 0
		}
	}
	for _, t := range w.due {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if next.IsZero() {
		return -1
	}
	return max(0, next.Sub(now))
}

// Read returns what domains have run into.
func (w *CgroupWatch) Read(now time.Time) ([]LimitHit, error) {
	var hits []LimitHit
	for f, t := range w.due {
		if t.After(now) {
			continue
		}
		if err := w.arm(f); err != nil && !errors.Is(err, unix.ENOENT) { // first: nothing after it is missed
			return hits, fmt.Errorf("cgroup: watch %s: %w", f.path, err)
		}
		hits = f.grown(hits)
	}
	if len(w.silent) > 0 && !w.look.After(now) {
		w.look = now.Add(hitPause)
		for f := range w.silent {
			hits = f.grown(hits)
		}
	}
	changed, err := w.changed()
	if err != nil {
		return hits, err
	}
	for _, f := range changed {
		hits = f.grown(hits)
		w.due[f] = now.Add(hitPause)
	}
	return w.readV1(now, hits), nil
}

// readV1 looks at the memory cgroups of v1: which of them has told is not said.
func (w *CgroupWatch) readV1(now time.Time, hits []LimitHit) []LimitHit {
	var b [8]byte
	if _, err := unix.Read(w.oom, b[:]); err == nil && w.v1due.IsZero() {
		w.v1due = now.Add(killDelay)
		if later := w.v1last.Add(hitPause); later.After(w.v1due) {
			w.v1due = later
		}
	}
	if w.v1due.IsZero() || w.v1due.After(now) {
		return hits
	}
	w.v1due = time.Time{}
	for _, files := range w.of {
		for _, f := range files {
			if before := len(hits); f.v1 {
				if hits = f.grown(hits); len(hits) > before {
					w.v1last = now
				}
			}
		}
	}
	return hits
}

// changed reads inotify's events.
func (w *CgroupWatch) changed() (files []*limitFile, err error) {
	var b [4096]byte
	for {
		n, err := unix.Read(w.inotify, b[:])
		switch {
		case err == unix.EAGAIN:
			return files, nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return files, fmt.Errorf("inotify: %w", err)
		}
		for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, length of the name after it.
			wd, mask, name := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:]), int(binary.NativeEndian.Uint32(rest[12:]))
			rest = rest[min(len(rest), unix.SizeofInotifyEvent+name):]
			if f := w.byFile[wd]; f != nil && mask&unix.IN_MODIFY != 0 {
				delete(w.byFile, wd)
				files = append(files, f)
			}
		}
	}
}

// grown adds a hit if the count has grown.
func (f *limitFile) grown(hits []LimitHit) []LimitHit {
	n, err := readKey(f.path, f.name)
	if err != nil || n <= f.count { // an error: the cgroup is gone
		return hits
	}
	hits = append(hits, LimitHit{Key: f.key, Controller: f.controller, Count: n - f.count})
	f.count = n
	return hits
}

// readKey reads a number from a file of lines "name number".
func readKey(path, name string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == name {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no line %q", path, name)
}
