package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
)

// gateIncarnation is where a row of the map gates has the incarnation (gateBytes).
const gateIncarnation = 32

// Restored ends the restoring: what the other process made and this one did not
// restore is taken away in the kernel, too. Its gates would else be judged by
// whatever is put next into the slots that their rows name, and write their
// verdicts into blocks that are handed out again. Nothing passes by them from
// here on, and nobody revokes them any more.
//
// The caller makes nothing new before. An error says that a gate may be left
// over which nobody knows: the fabric must not be used then.
func (f *Fabric) Restored() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buckets.settle()
	var errs []error
	some := false
	rows := make([][gateRow]byte, f.gates.MaxEntries())
	err := readRows(f.gates, rows)
	if err != nil {
		rows = nil
		errs = append(errs, err)
	}
	for i := range uint32(len(rows)) {
		row := rows[i][:]
		if f.rows.taken(i) || binary.LittleEndian.Uint32(row[gateIncarnation:]) == 0 {
			continue
		}
		some = true
		// As of a gate that is closed: the blocks stay, for filters that run now.
		binary.LittleEndian.PutUint32(row, noProgram)
		binary.LittleEndian.PutUint32(row[4:], noProgram)
		binary.LittleEndian.PutUint32(row[gateIncarnation:], 0)
		if err := f.gates.Put(i, row); err != nil {
			errs = append(errs, fmt.Errorf("row of gate %d: %w", i, err))
		}
	}
	for i := range f.cfg.Programs {
		if f.slots.taken(i) {
			continue
		}
		switch err := f.programs.Delete(i); {
		case err == nil:
			some = true
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			errs = append(errs, fmt.Errorf("slot %d of the program array: %w", i, err))
		}
	}
	if f.before != nil {
		errs = append(errs, f.before())
	}
	if some {
		errs = append(errs, graceperiod())
	}
	errs = append(errs, f.handles.restored())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("fabric: what was not taken over stays in the kernel: %w", err)
	}
	return nil
}

// settle frees the rows of buckets that nobody charges again: what they counted
// ended with the other process.
func (t *bucketTable) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, b := range t.byName {
		if b.uses == 0 && strings.HasPrefix(name, onceMark(true)) {
			t.drop(name, b)
		}
	}
}

// readRows reads all rows of an array, at once: a row by itself is a system call.
func readRows[T any](m *ebpf.Map, rows []T) error {
	keys := make([]uint32, len(rows))
	var cursor ebpf.MapBatchCursor
	for read := 0; read < len(rows); {
		some, err := m.BatchLookup(&cursor, keys[read:], rows[read:], nil)
		read += some
		if errors.Is(err, ebpf.ErrKeyNotExist) && read == len(rows) { // that was all
			break
		}
		if err != nil {
			return fmt.Errorf("rows of %v: %w", m, err)
		}
	}
	return nil
}

// taken reports whether a number was handed out and not given back.
func (p *pool) taken(n uint32) bool {
	if n >= p.next {
		return false
	}
	for _, free := range [][]uint32{p.free, p.dirty, p.resting} {
		for _, m := range free {
			if m == n {
				return false
			}
		}
	}
	return true
}
