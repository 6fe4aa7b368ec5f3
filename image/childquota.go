package image

import (
	"fmt"

	"ward/abi"
)

// A ChildQuota is what a parent asks for its child. 0: as the template has it.
type ChildQuota struct {
	Processes, Files, Gates uint32
	Memory                  uint64
	CPUWeight               uint32
}

// Room is what a parent has for a new child.
type Room struct {
	Taken    Quota  // what its other children have
	Children uint32 // how many it may have beside those, the new one included; not 0
}

// What a child gets at least, and leaves its parent, if neither its template nor
// the request says how much: with less a Go program does not start. If there is
// not as much there is no child.
const (
	leastProcesses = 16
	leastMemory    = 32 << 20 // bytes
	leastGates     = 4
)

// A part is how much of something a child gets of what its parent has.
type part struct {
	what, key     string
	ask, template uint64
	stated, limit uint64 // of the parent: in the system; with the default. 0: there is none
	taken         uint64 // of limit, by the parent's other children
	least         uint64 // see above; 0: of this no child gets a part that was not stated
}

// of is what was asked for, at most the template's, or an equal part: as much as
// each child, and the parent itself, would have if all came that may. It is at
// most what the parent has left. room is nil for a child that there is already:
// of it nothing is asked but that its parent states no less.
func (p *part) of(room *Room) (uint64, error) {
	v := p.template
	if p.ask != 0 {
		if p.template != 0 && p.ask > p.template {
			return 0, fmt.Errorf("%d %s are asked for, and the template has %d", p.ask, p.what, p.template)
		}
		v = p.ask
	}
	limit, left := p.limit, p.limit-min(p.taken, p.limit)
	switch {
	case room == nil:
		limit, left = p.stated, p.stated
	case v == 0 && limit != 0 && p.least != 0:
		if v = max(left/(uint64(room.Children)+1), p.least); left < v+p.least {
			return 0, fmt.Errorf("a child whose quota is not stated gets %d %s at least, and leaves its parent as many, which has %d left of %d%s", p.least, p.what, left, limit, p.hint())
		}
	}
	switch {
	case limit == 0:
		return v, nil
	case v == 0 && p.least == 0:
		return 0, fmt.Errorf("the parent has a quota of %d %s, and its child none: state one in the template", limit, p.what)
	case v > left:
		return 0, fmt.Errorf("%d %s are asked for, and the parent has %d left of %d%s", v, p.what, left, limit, p.hint())
	}
	return v, nil
}

// hint says of a default that it is one.
func (p *part) hint() string {
	if p.stated != 0 {
		return ""
	}
	return fmt.Sprintf(", which is the default: state more in its `quota` (%s)", p.key)
}

// quotaOf is the quota of a child of parent that is otherwise d, whose quota is
// the template's. What the parent has is stated or the default, and so is what
// the child has: it comes out of that. Descriptors are a limit of each process,
// and the size of a file one of each file: of those a child has at most as much
// as its parent, and the processes of all are bounded.
func (img *Image) quotaOf(parent, d *Domain, ask ChildQuota, room *Room) (Quota, error) {
	q, stated, has := d.Quota, &parent.Quota, img.LimitsOf(parent)
	var taken Quota
	if room != nil {
		taken = room.Taken
	}
	for _, x := range []struct {
		to *uint32
		part
	}{
		{&q.Processes, part{"processes", "processes", uint64(ask.Processes), uint64(q.Processes), uint64(stated.Processes), uint64(has.Processes), uint64(taken.Processes), leastProcesses}},
		{&q.Gates, part{"gates", "gates", uint64(ask.Gates), uint64(q.Gates), uint64(stated.Gates), uint64(has.Gates), uint64(taken.Gates), leastGates}},
		{&q.Messages, part{"messages a second", "messages", 0, uint64(q.Messages), uint64(stated.Messages), uint64(has.Messages), uint64(taken.Messages), 0}},
		{&q.CPU, part{"percent of a processor", "cpu", 0, uint64(q.CPU), uint64(stated.CPU), uint64(has.CPU), uint64(taken.CPU), 0}},
	} {
		v, err := x.of(room)
		if err != nil {
			return q, err
		}
		*x.to = uint32(v)
	}
	memory := part{"bytes of memory", "memory", ask.Memory, q.Memory, stated.Memory, has.Memory, taken.Memory, leastMemory}
	v, err := memory.of(room)
	if err != nil {
		return q, err
	}
	q.Memory = v
	if err := childFiles(&q, ask.Files, has.Files, img.LimitsOf(d).Files); err != nil && room != nil {
		return q, err
	}
	q.FileSize = atMost(q.FileSize, has.FileSize, DefaultFileSize)
	q.Disk = 0 // what it writes lies where its parent may write, and counts as the parent's
	if ask.CPUWeight != 0 {
		q.CPUWeight = min(ask.CPUWeight, defaulted(q.CPUWeight))
	}
	q.CPUWeight = atMost(q.CPUWeight, defaulted(stated.CPUWeight), DefaultCPUWeight)
	return q, nil
}

// childFiles sets how many descriptors a process of a child may have: what was
// asked for, or what the template has, whose limit is own; at most the parent's.
func childFiles(q *Quota, ask, parent, own uint32) (err error) {
	switch {
	case ask != 0 && q.Files != 0 && ask > q.Files:
		err = fmt.Errorf("%d descriptors are asked for, and the template has %d", ask, q.Files)
	case ask > parent:
		err = fmt.Errorf("%d descriptors are asked for, and a process of the parent has at most %d", ask, parent)
	case ask != 0:
		own = ask
	}
	if ask != 0 || own > parent {
		q.Files = min(own, parent)
	}
	return err
}

// atMost is a limit that is no more than the parent's; 0 is the default.
func atMost[T uint32 | uint64](v, parent, def T) T {
	if v == 0 && def <= parent {
		return 0
	}
	if v == 0 {
		v = def
	}
	return min(v, parent)
}

// defaulted is a CPU weight; without one it is the kernel's.
func defaulted(weight uint32) uint32 {
	if weight == 0 {
		return DefaultCPUWeight
	}
	return weight
}

// asked is what would have to be asked for to get what a child was given: what
// another Family is told, and one that takes over, which know of no other
// children, or of others.
func (q *Quota) asked(ask ChildQuota, template *Quota) ChildQuota {
	if template.Processes == 0 {
		ask.Processes = q.Processes
	}
	if template.Gates == 0 {
		ask.Gates = q.Gates
	}
	if template.Memory == 0 {
		ask.Memory = q.Memory
	}
	return ask
}

// Fit is how many children of a template a domain can have at the same time, if
// they ask for no less than they get, by which of its quotas, how much that is,
// and how much of it each has at least. Where nothing bounds it, it is as many as
// the domain may have.
func (img *Image) Fit(parent, template abi.DomainID) (n uint32, key string, of, each uint64) {
	p, t := &img.Domains[parent], &img.Domains[template].Quota
	n, has := p.Children.Number, img.LimitsOf(p)
	for _, x := range []struct {
		key                string
		has, stated, least uint64
	}{
		{"processes", uint64(has.Processes), uint64(t.Processes), leastProcesses},
		{"memory", has.Memory, t.Memory, leastMemory},
		{"gates", uint64(has.Gates), uint64(t.Gates), leastGates},
	} {
		v, own := x.stated, uint64(1) // what the parent keeps at least
		if v == 0 {
			v, own = x.least, x.least
		}
		if fit := (x.has - min(own, x.has)) / v; fit < uint64(n) {
			n, key, of, each = uint32(fit), x.key, x.has, v
		}
	}
	return n, key, of, each
}
