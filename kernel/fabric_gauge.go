package kernel

import (
	"encoding/binary"
	"fmt"
	"time"
)

// What filters keep anyway, read for people: how many calls are pending, and how
// full a bucket is. It costs the gates nothing.

// slotBusy is SLOT_BUSY of filter/bpf/ward.h: the call that has the slot has no answer
// yet. slotReserved is SLOT_RESERVED: it is being admitted or answered.
const (
	slotBusy     = 1
	slotReserved = 8
)

// Pending is how many calls of the gate were admitted and have no final answer yet.
func (g *Gate) Pending() (int, error) {
	f := g.r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if g.closed {
		return 0, fmt.Errorf("calls of gate %d: it is closed", g.Index)
	}
	row, err := f.calls.LookupBytes(g.Index)
	if err != nil {
		return 0, fmt.Errorf("calls of gate %d: %w", g.Index, err)
	}
	n := 0
	for ; len(row) >= 8; row = row[8:] {
		if phase := binary.LittleEndian.Uint64(row) >> 32; phase&(slotBusy|slotReserved) != 0 {
			n++
		}
	}
	return n, nil
}

// UntilFull is how long a bucket takes until it has all its tokens again. One
// that no program has charged so far has them.
func (f *Fabric) UntilFull(bucket string) (time.Duration, error) {
	now, err := bootTime()
	if err != nil {
		return 0, err
	}
	t := f.buckets
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.byName[bucket]
	if b == nil {
		return 0, nil
	}
	v, err := t.m.LookupBytes(b.row)
	if err != nil {
		return 0, fmt.Errorf("bucket of %s: %w", bucket, err)
	}
	if full := binary.LittleEndian.Uint64(v); full > now {
		return time.Duration(full - now), nil
	}
	return 0, nil
}
