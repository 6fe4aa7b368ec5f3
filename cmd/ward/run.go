package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ward/monitor/admin"
)

// A run directory keeps what the run before the last one left: its audit file, with
// the suffix ".1", and logs of domains. A system that starts begins its audit file
// before anything else, so a file that was made earlier is of an earlier run. The
// suffix ".1" of a log does not say it: a log that is full gets one, too.

// logFiles lists the files of a domain's log, the older one first: those of this
// run, or with previous those of runs before it.
func logFiles(dir, domain string, previous bool) (paths []string) {
	begin, known := born(auditIn(dir))
	log := logOf(dir, domain)
	for _, path := range []string{log + ".1", log} {
		when, ok := born(path)
		if !ok {
			continue
		}
		if earlier := known && when < begin; earlier == previous {
			paths = append(paths, path)
		}
	}
	return paths
}

// born is when a file was made, in nanoseconds since 1970, by the coarse clock of the
// kernel; !ok if there is none, or it cannot be seen. 0: its file system does not tell
// (tmpfs does from Linux 5.18 on), so that all there is counts as of the last run.
func born(path string) (at int64, ok bool) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st); err != nil {
		return 0, false
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		return 0, true
	}
	return st.Btime.Sec*int64(time.Second) + int64(st.Btime.Nsec), true
}

// awaitLog waits until a domain of a system that runs has written something.
func awaitLog(ctx context.Context, dir, domain string) []string {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, running := os.Lstat(filepath.Join(dir, admin.Socket))
		if paths := logFiles(dir, domain, false); len(paths) > 0 || running != nil {
			return paths
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
