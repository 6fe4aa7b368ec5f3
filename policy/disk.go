package policy

import (
	"ward/diag"
	"ward/system"
)

// disks refuses files that count for one domain's quota of disk, and that
// another domain may write: it could use up what the first one has.
func (c *compiler) disks() {
	for _, x := range c.img.DiskConflicts() {
		d, other := c.domains[x.Domain], c.domains[x.Other]
		c.findings.Errorf(listedAt(other, x.OtherPath), "let one of them write there, or leave `disk` out of the quota of "+d.Name.Value,
			"%s may write %s, and %s counts for the quota of disk of %s", other.Name.Value, x.OtherPath, x.Path, d.Name.Value)
	}
}

// listedAt is where a domain lists a file.
func listedAt(d *system.Domain, path string) diag.Pos {
	for _, f := range d.Files {
		if f.Path.Value == path {
			return f.Path.Pos
		}
	}
	return d.Pos
}
