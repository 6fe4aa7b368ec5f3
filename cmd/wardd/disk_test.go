package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/image"
	"ward/internal/disktest"
	"ward/kernel"
)

// TestDiskQuota: a quota of disk as a system has it, under the filters that
// wardd puts on itself: it holds, the audit says so, it goes on to be told when
// monitor and creator have been followed by others, and it stays when the
// system has ended. The control is the same program without the quota.
func TestDiskQuota(t *testing.T) {
	needsRoot(t)
	disk := disktest.Mount(t, disktest.Ext4)
	const quota = 2 << 20
	dir := func(name string) string {
		path := filepath.Join(disk, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bounded, free := dir("bounded"), dir("free")
	// It writes 4 MiB again and again. That file stays as large as it became; the other one
	// frees a block each time: the kernel does not tell again before something was freed.
	line := func(name, dir, more string) string {
		return fmt.Sprintf("  %s: {program: /bin/sh, root: host, args: [-c, 'while :; do echo > %s/other; dd if=/dev/zero of=%s/file bs=64k count=64 conv=notrunc 2>&1; done'], files: {%s: rw}%s}\n", name, dir, dir, dir, more)
	}
	size := func(dir string) int64 {
		info, err := os.Stat(filepath.Join(dir, "file"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	r := upOf(t, []string{"testdata/system/echo.proto"}, line("bounded", bounded, ", quota: {disk: 2MiB}")+line("free", free, ""))
	hit := func(since time.Time) {
		t.Helper()
		rec := r.await(since, "an event of the quota", func(rec *audit.Record) bool { return rec.Event == audit.EventQuota })
		if rec.Domain != "bounded" || !strings.Contains(rec.Detail, "disk") {
			t.Errorf("%+v", rec)
		}
	}
	hit(r.since)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for size(free) < 2*quota {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("control: without the quota it has %d bytes", size(free))
		}
	}
	for _, role := range []string{"creator", "monitor"} {
		was := r.processes()[role]
		r.kills(was)
		r.comesBack(role, was)
	}
	r.runs("bounded")
	hit(time.Now())
	d := r.domains()["bounded"]
	if d.State != "running" {
		t.Errorf("%+v", d)
	}
	r.ends()
	if u, err := kernel.DiskUseOf(bounded, image.ProjectOf(r.name, "bounded")); err != nil || u.LimitBytes != quota || u.Bytes > quota || u.Bytes < quota/2 {
		t.Errorf("it holds %+v, %v", u, err)
	}
}
