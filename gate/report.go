package gate

import (
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// reports is the way on which the library tells the audit writer what it
// decided. It never waits: what finds the way full is missing from the numbers
// of the records, and counted as lost.
type reports struct {
	mu  sync.Mutex
	fd  int
	seq uint64
}

// report tells of a decision on a message of this gate, if it is to be told.
func (c *Check) report(dir abi.Direction, h *abi.Header, length int, j *judgement) {
	if c.reports == nil || !j.audit {
		return
	}
	r := abi.Record{Time: uint64(bootNow()), Gate: c.block, Method: h.Method, Slot: h.Slot, Gen: h.Gen, Kind: h.Kind,
		Dir: dir, Reason: j.reason, Detail: j.detail, Length: uint32(length)}
	if j.values != nil {
		c.methods[dir][h.Method].carry(&r, j.values)
	}
	c.reports.send(&r)
}

func (p *reports) send(r *abi.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	r.Seq = p.seq
	unix.Sendto(p.fd, r.Append(nil), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) // an error: a record is lost, and its number is missing
}

// carry fills in the parameters that the record has, as the kernel's filter does:
// its strings share abi.RecordText bytes.
func (m *methodCheck) carry(r *abi.Record, v values) {
	texts := 0
	for _, l := range m.looks {
		if l.Text {
			texts++
		}
	}
	share := abi.RecordText / 8
	switch {
	case texts == 1:
		share = abi.RecordText
	case texts == 2:
		share = abi.RecordText / 2
	case texts <= 4:
		share = abi.RecordText / 4
	}
	var text [abi.RecordText]byte
	next := 0 // place of the next string
	for i, l := range m.looks {
		p := v[pathKey(l.Path)]
		at := next
		if l.Text {
			next += share
		}
		if p == nil {
			r.Params = append(r.Params, 0)
			continue
		}
		r.Present |= 1 << i
		switch {
		case l.Count:
			r.Params = append(r.Params, uint64(p.count))
		case l.Text:
			r.Params = append(r.Params, uint64(at)<<32|uint64(uint32(len(p.text))))
			if n := copy(text[at:at+share], p.text); n > 0 {
				r.Text = text[:at+n]
			}
		default:
			r.Params = append(r.Params, uint64(p.long))
		}
	}
}

// NewCheckReporting is NewCheck for those who play the monitor: reports is the
// way of the records, which stays the caller's.
func NewCheckReporting(fd, to int) (*Check, error) {
	c, err := NewCheck(fd)
	if err == nil {
		c.reports = &reports{fd: to}
	}
	return c, err
}
