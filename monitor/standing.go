package monitor

import (
	"fmt"

	"ward/image"
	"ward/monitor/admin"
)

// Of some limits the kernel tells nobody: the creator looks who stands at one
// (creator/look.go), and says how many do whenever that changes. So it does not
// matter that a creator that comes back says it once more: a record is made of
// those that were not there before.

// A standing is how many processes or threads of a domain stand at each limit.
type standing map[LimitKind]uint64

// standsAt notes how many processes or threads of a domain stand at a limit. If
// there are more than before it returns how many, in words too.
func (d *domain) standsAt(h Hit, q *image.Quota) (text string, more uint64) {
	var hits *uint64
	switch h.Limit {
	case LimitFiles:
		hits = &d.hits.Files
		text = fmt.Sprintf("files: a process of it has all descriptors open that it may have, %d", q.Files)
	case LimitFileSize:
		hits = &d.hits.FileSize
		text = fmt.Sprintf("file_size: it was refused to write beyond the greatest size of a file, %d bytes", q.FileSize)
	case LimitTmp:
		hits = &d.hits.Tmp
		text = fmt.Sprintf("tmp: all is taken; at most %d bytes", d.tmp())
	case LimitTmpFiles:
		hits = &d.hits.Tmp
		text = fmt.Sprintf("tmp: no more files can be made; at most one for each 4 KiB of its %d bytes", d.tmp())
	default:
		return "", 0
	}
	before := d.standing[h.Limit]
	if d.standing == nil {
		d.standing = standing{}
	}
	d.standing[h.Limit] = h.Count
	if h.Count <= before {
		return "", 0
	}
	*hits += h.Count - before
	return text, h.Count - before
}

// bounds are what it ran into, and where it stands now.
func (d *domain) bounds() admin.Hits {
	h := d.hits
	for _, at := range []struct {
		key string
		n   uint64
	}{{"files", d.standing[LimitFiles]}, {"file_size", d.standing[LimitFileSize]}, {"tmp", d.standing[LimitTmp] + d.standing[LimitTmpFiles]}} {
		if at.n > 0 {
			h.Now = append(h.Now, at.key)
		}
	}
	return h
}

// tmp is how many bytes its /tmp may have.
func (d *domain) tmp() uint64 {
	if d.def.Tmp == 0 {
		return image.DefaultTmp
	}
	return d.def.Tmp
}
