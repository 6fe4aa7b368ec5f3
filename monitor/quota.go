package monitor

import (
	"fmt"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// Quotas: the kernel enforces most of them (creator/quota.go) and says when a
// domain runs into one; the monitor counts gates itself (share.go), and filters
// count messages. Each time is recorded, at most once a second of one quota.

// A LimitKind is a quota that the kernel enforces on a domain.
type LimitKind uint8

const (
	LimitProcesses LimitKind = iota + 1 // and threads: no more were made
	LimitMemory                         // processes were killed
	LimitDisk                           // files were not written or made
	// Of these it is told how many stand at the limit (standing.go).
	LimitFiles
	LimitFileSize
	LimitTmp
	LimitTmpFiles
)

// A Hit says that a domain ran into a limit, and how often since the last Hit;
// or how many stand at it now.
type Hit struct {
	Domain abi.DomainID
	Limit  LimitKind
	Count  uint64
	Number uint64 // for Listened.Heard; 0: it is not told again
}

// hit records that a domain ran into a limit.
//
// Preconditions: m.mu is held.
func (m *Monitor) hit(d *domain, h Hit) {
	q := m.inForce(d)
	e := event.New(event.Quota)
	e.Domain, e.Count = d.id, h.Count
	switch h.Limit {
	case LimitProcesses:
		d.hits.Processes += h.Count
		e.Text = fmt.Sprintf("processes: %d were refused to it; at most %d processes and threads", h.Count, q.Processes)
	case LimitMemory:
		d.hits.Memory += h.Count
		e.Text = fmt.Sprintf("memory: %d of its processes were killed; at most %d bytes", h.Count, q.Memory)
	case LimitDisk:
		d.hits.Disk += h.Count
		e.Text = fmt.Sprintf("disk: writes were refused to it; at most %d bytes in what it may write on the host", q.Disk)
	default:
		e.Text, e.Count = d.standsAt(h, &q)
	}
	if e.Count > 0 {
		d.told.add(e)
	}
	m.keepTold(&d.told, func() {
		if m.find(d.id) == d { // else a child that has ended
			m.keepNow(d)
		}
	})
}

// limitsOf are the bounds of a domain as they are in force: without what its
// children have.
//
// Preconditions: m.mu is held.
func (m *Monitor) limitsOf(d *domain) admin.Quota {
	q := m.inForce(d)
	disk, project := diskOf(m.Image, m.family, d)
	_, routes := m.loadedKin(d)
	return admin.Quota{Processes: q.Processes, Memory: q.Memory, CPUWeight: q.CPUWeight, CPU: q.CPU, Files: q.Files, FileSize: q.FileSize, Disk: disk, Project: project,
		Tmp: d.tmp(), Gates: uint32(m.gatesOf(d)), Routes: uint32(routes), Messages: q.Messages, Pending: abi.Slots}
}

// diskOf is the quota of disk of a domain, and the project of its files. What a
// child writes on the host counts as that of the domain of the image that it
// descends from.
func diskOf(img *image.Image, family *image.Family, d *domain) (bytes uint64, project uint32) {
	def := d.def
	if k := family.Kin(d.id); k != nil {
		def = &img.Domains[k.Lineage[len(k.Lineage)-1]]
	}
	if def.Quota.Disk == 0 {
		return 0, 0
	}
	return def.Quota.Disk, image.ProjectOf(img.Name, def.Name)
}
