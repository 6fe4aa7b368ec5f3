package main

import (
	"slices"
	"testing"

	"ward/monitor/admin"
)

// TestDiskShown: of what a domain writes on the host, `ward ps` shows what it
// uses of how much, or that nothing bounds it.
func TestDiskShown(t *testing.T) {
	files := []admin.File{{Path: "/srv/a", Access: "rw"}, {Path: "/etc/a.conf", Access: "r"}, {Path: "/srv/b", Access: "w"}}
	free := []disk{{"/srv/a", 3 << 20}, {"/srv/b", 4 << 30}}
	for _, c := range []struct {
		name  string
		limit uint64
		hits  uint64
		use   use
		want  []string
	}{
		{"no quota", 0, 0, use{Disk: free}, []string{"/srv/a: not bounded in all, only each file; 3 MiB free there", "/srv/b: not bounded in all, only each file; 4 GiB free there"}},
		{"in use", 1 << 30, 0, use{Disk: free, Held: &held{Bytes: 12 << 20, Limit: 1 << 30, Files: 7, FilesLimit: 262208}}, []string{"disk: 12 MiB of 1 GiB, 7 of 262208 files; in /srv/a, /srv/b"}},
		{"full", 1 << 20, 2, use{Held: &held{Bytes: 1 << 20, Limit: 1 << 20, Files: 9, FilesLimit: 320}}, []string{"disk: 1 MiB of 1 MiB, 9 of 320 files; 2 times refused; in /srv/a, /srv/b"}},
		{"it does not run", 1 << 30, 0, use{}, []string{"disk: 1 GiB; in /srv/a, /srv/b"}},
		{"lifted by hand", 1 << 30, 0, use{Held: &held{Bytes: 2 << 30}}, []string{"disk: 2 GiB; not bounded: somebody has lifted the limit of 1 GiB; in /srv/a, /srv/b"}},
	} {
		d := &admin.Descriptor{Files: files, Quota: admin.Quota{Disk: c.limit}, Hits: admin.Hits{Disk: c.hits}}
		if got := diskRows(d, &c.use); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
