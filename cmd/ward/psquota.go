package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ward/kernel"
	"ward/monitor/admin"
)

// A use is what a domain uses of its quotas now. A pointer is nil where nothing
// counts it, or the domain does not run.
type use struct {
	Processes *uint64 `json:"processes,omitempty"`
	Memory    *uint64 `json:"memory,omitempty"` // bytes
	CPU       *uint64 `json:"cpu_ns,omitempty"` // so far
	Files     *uint64 `json:"files,omitempty"`  // of the process that has most
	AllFiles  *uint64 `json:"all_files,omitempty"`
	Tmp       *uint64 `json:"tmp,omitempty"` // bytes
	TmpFiles  *uint64 `json:"tmp_files,omitempty"`
	TmpSize   *uint64 `json:"tmp_size,omitempty"` // bytes of /tmp and of the root, which are one file system
	Gates     int     `json:"gates"`
	Disk      []disk  `json:"disk,omitempty"`
	Held      *held   `json:"held,omitempty"` // nil: it has no quota of disk, or nobody could find out
}

// A held is what all files of the host that a domain may write take, of how
// much: what the file system says.
type held struct {
	Bytes      uint64 `json:"bytes"`
	Limit      uint64 `json:"limit"` // 0: none
	Files      uint64 `json:"files"`
	FilesLimit uint64 `json:"files_limit"`
}

// A disk is a directory of the host that a domain may write. Without a quota of
// disk nothing bounds what it writes there in all.
type disk struct {
	Path string `json:"path"`
	Free uint64 `json:"free"` // bytes of the file system, for users
}

// described is a domain with what it uses.
type described struct {
	admin.Domain
	Use *use `json:"use,omitempty"`
	// What the kernel enforces on its processes together; what is 0 or left out it does not.
	Enforced *enforced `json:"enforced,omitempty"`
}

type enforced struct {
	Processes uint32 `json:"processes,omitempty"`
	Memory    uint64 `json:"memory,omitempty"`
}

// withUse reads what a domain uses. A domain that ends meanwhile uses nothing.
func withUse(d admin.Domain) described {
	out := described{Domain: d}
	if !d.Lives() || d.PID == 0 {
		return out
	}
	u := new(kernel.CgroupUse)
	if d.Level != libraryLevel { // there it is in a cgroup of the user's, with other programs
		var err error
		if u, err = kernel.UseOf(d.PID); err != nil {
			return out
		}
	}
	out.Use = &use{Processes: u.Processes, Memory: u.Memory, CPU: u.CPU, Files: u.Files, AllFiles: u.AllFiles, Gates: d.Gates}
	if s, err := kernel.TmpUse(d.PID); err == nil {
		used, files := s.Bytes-s.BytesFree, s.Files-s.FilesFree
		out.Use.Tmp, out.Use.TmpFiles, out.Use.TmpSize = &used, &files, &s.Bytes
	}
	out.Use.Disk, out.Use.Held = disks(d.Descriptor), heldBy(d.Descriptor)
	out.Enforced = &enforced{Processes: u.Limits.Processes, Memory: u.Limits.Memory}
	return out
}

// disks lists the directories of the host that a domain may write.
func disks(d *admin.Descriptor) (all []disk) {
	if d == nil {
		return nil
	}
	for _, f := range d.Files {
		if info, err := os.Stat(f.Path); !strings.Contains(f.Access, "w") || err != nil || !info.IsDir() {
			continue
		}
		var st unix.Statfs_t
		if unix.Statfs(f.Path, &st) == nil {
			all = append(all, disk{f.Path, st.Bavail * uint64(st.Bsize)})
		}
	}
	return all
}

// heldBy asks the file system what a domain with a quota of disk holds. All its
// directories are on one.
func heldBy(d *admin.Descriptor) *held {
	if d == nil || d.Quota.Disk == 0 {
		return nil
	}
	for _, f := range d.Files {
		if !strings.Contains(f.Access, "w") {
			continue
		}
		if u, err := kernel.DiskUseOf(f.Path, d.Quota.Project); err == nil {
			return &held{u.Bytes, u.LimitBytes, u.Files, u.LimitFiles}
		}
	}
	return nil
}

// diskRows says what bounds what a domain writes on the host.
func diskRows(d *admin.Descriptor, u *use) (rows []string) {
	if d.Quota.Disk == 0 {
		for _, w := range u.Disk {
			rows = append(rows, fmt.Sprintf("%s: not bounded in all, only each file; %s free there", w.Path, sized(w.Free)))
		}
		return rows
	}
	line := "disk: " + sized(d.Quota.Disk)
	switch h := u.Held; {
	case h != nil && h.Limit == 0:
		line = fmt.Sprintf("disk: %s; not bounded: somebody has lifted the limit of %s", sized(h.Bytes), sized(d.Quota.Disk))
	case h != nil:
		line = fmt.Sprintf("disk: %s of %s, %d of %d files", sized(h.Bytes), sized(h.Limit), h.Files, h.FilesLimit)
	}
	if n := d.Hits.Disk; n > 0 {
		line += fmt.Sprintf("; %d times refused", n)
	}
	for _, f := range d.Files {
		if strings.Contains(f.Access, "w") {
			rows = append(rows, f.Path)
		}
	}
	return []string{line + "; in " + strings.Join(rows, ", ")}
}

// quotaRows says for each quota what is used of how much.
func quotaRows(d described) (rows []string) {
	q := d.Descriptor.Quota
	var u use
	if d.Use != nil {
		u = *d.Use
	}
	row := func(what string, used *uint64, show func(uint64) string, limit uint64, unit string, hits uint64, happened string) {
		now := ""
		if used != nil {
			now = show(*used) + " of "
		}
		line := fmt.Sprintf("%s: %s%s%s", what, now, show(limit), unit)
		if hits > 0 {
			line += fmt.Sprintf("; %d %s", hits, happened)
		}
		rows = append(rows, line)
	}
	gates := uint64(d.Gates)
	hits := d.Descriptor.Hits
	now := func(key, happened string) string { // and still does
		if slices.Contains(hits.Now, key) {
			happened += ", and now"
		}
		return happened
	}
	row("processes", u.Processes, decimal, uint64(q.Processes), "", hits.Processes, "refused")
	alone := d.Level != libraryLevel // in a cgroup of its own
	if alone {
		row("memory", u.Memory, sized, q.Memory, "", hits.Memory, "processes killed")
	}
	row("open files", u.Files, decimal, uint64(q.Files), " in a process", hits.Files, now("files", "processes had all"))
	row("open files in all", u.AllFiles, decimal, uint64(q.Files)*uint64(q.Processes), ", as many processes with as many each", 0, "")
	row("file size", nil, sized, q.FileSize, "", hits.FileSize, "threads refused")
	row("/tmp", u.Tmp, sized, q.Tmp, moreTmp(&u, q.Tmp)+tmpFiles(u.TmpFiles), hits.Tmp, now("tmp", "times full"))
	rows = append(rows, diskRows(d.Descriptor, &u)...)
	row("gates", &gates, decimal, uint64(q.Gates), "", hits.Gates, "refused")
	if q.Routes > 0 {
		routes := uint64(d.Descriptor.Routes)
		row("routes of children and delegations", &routes, decimal, uint64(q.Routes), "", hits.Routes, "gates refused")
	}
	rows = append(rows, trafficRows(&q, d.Descriptor.Traffic)...)
	cpu := fmt.Sprintf("CPU: weight %d", q.CPUWeight)
	if q.CPU > 0 {
		cpu += fmt.Sprintf(", at most %d%% of a processor", q.CPU)
	}
	if u.CPU != nil {
		cpu += fmt.Sprintf(", %v used", time.Duration(*u.CPU).Round(time.Millisecond))
	}
	if alone {
		rows = append(rows, cpu)
	}
	switch {
	case !alone:
		rows = append(rows, "memory and CPU are not bounded: at the level library a domain has no cgroup of its own")
	case d.Use != nil && d.Enforced.Memory == 0:
		rows = append(rows, "memory is not bounded: this kernel has no memory controller mounted")
	}
	return rows
}

func decimal(n uint64) string { return fmt.Sprint(n) }

// sized writes a size with the largest unit that fits.
func sized(n uint64) string {
	for _, u := range []struct {
		name string
		size uint64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n%u.size == 0 && n > 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
