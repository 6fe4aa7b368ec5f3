package image

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"ward/abi"
)

// minDisk is the smallest quota of disk, in bytes: a directory alone takes 4 KiB.
const minDisk = 64 << 10

// FirstProject is the first of the 2^30 numbers that projects of Ward have on
// file systems. /etc/projid and container engines count from 1 or a few
// thousand, systemd from 2^31.
const FirstProject = 1 << 30

// ProjectOf is the number of the project that a domain's files on disk belong
// to. It depends on the two names only: files keep it from one start to the
// next, on another host, and when other domains come and go.
func ProjectOf(system, domain string) uint32 {
	sum := sha256.Sum256([]byte(DiskOwner(system, domain)))
	return FirstProject | binary.LittleEndian.Uint32(sum[:])&(FirstProject-1)
}

// DiskOwner is what directories are marked with that belong to a domain's project.
func DiskOwner(system, domain string) string { return system + "/" + domain }

// A DiskConflict is a file that a domain with a quota of disk, and another one,
// may write: what one writes there would count as the other's.
type DiskConflict struct {
	Domain, Other abi.DomainID // Domain has the quota
	Path          string       // that Domain may write
	OtherPath     string       // that Other may write: the same, below it, or above it
}

// DiskConflicts returns those of the image, in the order of their paths, between
// domains that may start. Children write where their parents do, so templates
// are left out.
func (img *Image) DiskConflicts() (all []DiskConflict) {
	type place struct {
		path   string
		domain abi.DomainID
	}
	var places []place
	any := false
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Template || !d.Start.Allow {
			continue
		}
		any = any || d.Quota.Disk > 0
		for _, f := range d.Files {
			if f.Verdict.Allow && f.Access&Write != 0 {
				places = append(places, place{strings.TrimSuffix(f.Path, "/") + "/", abi.DomainID(i)})
			}
		}
	}
	if !any {
		return nil
	}
	slices.SortStableFunc(places, func(a, b place) int { return strings.Compare(a.path, b.path) })
	var above []place // that the next one may be below, outermost first
	for _, p := range places {
		for len(above) > 0 && !strings.HasPrefix(p.path, above[len(above)-1].path) {
			above = above[:len(above)-1]
		}
		for _, o := range above {
			x, y := o, p
			if img.Domains[x.domain].Quota.Disk == 0 {
				x, y = y, x
			}
			if x.domain != y.domain && img.Domains[x.domain].Quota.Disk > 0 {
				all = append(all, DiskConflict{x.domain, y.domain, strings.TrimSuffix(x.path, "/"), strings.TrimSuffix(y.path, "/")})
			}
		}
		above = append(above, p)
	}
	return all
}

// disks checks the quotas of disk.
func (c *checker) disks() error {
	projects := map[uint32]string{}
	for i := range c.img.Domains {
		d := &c.img.Domains[i]
		if d.Quota.Disk == 0 {
			continue
		}
		if d.Template {
			return fmt.Errorf("domain %s: a template has no quota of disk: its children write where their parents do, and what they write counts as theirs", d.Name)
		}
		p := ProjectOf(c.img.Name, d.Name)
		if other, taken := projects[p]; taken {
			return fmt.Errorf("domains %s and %s would have the same project of a file system (%d): rename one", other, d.Name, p)
		}
		projects[p] = d.Name
	}
	for _, x := range c.img.DiskConflicts() {
		return fmt.Errorf("domain %s: %s counts for its quota of disk, and %s may write %s", c.img.Domains[x.Domain].Name, x.Path, c.img.Domains[x.Other].Name, x.OtherPath)
	}
	return nil
}
