package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"ward/abi"
)

// ErrNoHandles is what errors.Is finds if there is no room for another handle.
var ErrNoHandles = errors.New("all handles are in use")

// A HandleOffer is what one message of a gate may say of a handle that it carries.
type HandleOffer struct {
	Dir   abi.Direction // of the message
	Kind  abi.HandleKind
	Size  uint64 // bytes
	Write bool   // the receiver may write, too
}

// A HandleState is how far a handle has come.
type HandleState uint8

const (
	HandleGone     HandleState = iota // it was taken, forgotten, or its gate has ended; or it never was
	HandleOffered                     // no message with it was admitted yet
	HandleAdmitted                    // one message was, and it is not taken yet
)

func (s HandleState) String() string {
	switch s {
	case HandleOffered:
		return "offered"
	case HandleAdmitted:
		return "admitted"
	}
	return "gone"
}

// handleRow is the size of a row of the map handles, bytes: its word and the size.
const handleRow = 16

// handlePortion is how many rows are read at a time.
const handlePortion = 256

// forgetTries bounds how often a handle that is to end is found to be in a
// message just now.
const forgetTries = 50

// A handleTable is the map of handles, and which of its rows are in use. What a
// handle is worth is in the map: what is here follows from it.
//
// A row can be used again at once: a filter that still looks at the handle
// before changes the word only if it is as it was, generation included.
//
// Locking: Fabric.mu.
type handleTable struct {
	stateMap
	limit, next uint32
	free        []uint32                   // of the rows below next
	byGate      map[uint32]map[uint32]bool // rows, by incarnation of their gate
	found       map[uint32]map[uint32]bool // the same, of gates that are not restored yet
}

// open makes the map.
func (t *handleTable) open(n uint32, obj *object) error {
	t.limit, t.byGate = n, map[uint32]map[uint32]bool{}
	return t.stateMap.open("handles", n, handleRow, obj)
}

// restore takes over a map, if there is one, and finds the rows in use.
func (t *handleTable) restore(n uint32, obj *object) error {
	if n == 0 {
		return t.open(0, obj)
	}
	t.limit, t.byGate, t.found = n, map[uint32]map[uint32]bool{}, map[uint32]map[uint32]bool{}
	if t.words.MaxEntries() != n || t.words.ValueSize() != handleRow {
		return fmt.Errorf("the map of handles is not of the size that was said")
	}
	if err := t.load(obj); err != nil {
		return err
	}
	return t.findRows()
}

// findRows finds the rows in use of a map that was taken over. A row is used for the
// first time only when all below it were: the first whose word is 0 ends them. So
// a large table costs no more than what was used of it.
func (t *handleTable) findRows() error {
	keys, rows := make([]uint32, handlePortion), make([][handleRow]byte, handlePortion)
	var cursor ebpf.MapBatchCursor
	for t.next < t.limit {
		n, err := t.words.BatchLookup(&cursor, keys, rows, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) || n == 0 {
			return fmt.Errorf("rows of handles: %w", err)
		}
		for i := range n {
			w := abi.HandleWord(binary.LittleEndian.Uint64(rows[i][:])) // of one that filters change meanwhile, that is one byte
			switch {
			case w == 0:
				return nil
			case w.State() == abi.HandleFree:
				t.free = append(t.free, t.next)
			default:
				mark(t.found, w.Incarnation(), t.next)
			}
			t.next++
		}
	}
	return nil
}

func mark(m map[uint32]map[uint32]bool, incarnation, row uint32) {
	if m[incarnation] == nil {
		m[incarnation] = map[uint32]bool{}
	}
	m[incarnation][row] = true
}

// adopt says that the gate of an incarnation was restored.
func (t *handleTable) adopt(incarnation uint32) {
	if rows := t.found[incarnation]; rows != nil {
		t.byGate[incarnation] = rows
		delete(t.found, incarnation)
	}
}

// restored ends the handles of gates that were not restored.
func (t *handleTable) restored() error {
	var errs []error
	for incarnation, rows := range t.found {
		t.byGate[incarnation] = rows
		errs = append(errs, t.release(incarnation))
	}
	t.found = nil
	return errors.Join(errs...)
}

// word reads the word of a row.
func (t *handleTable) word(row uint32) (abi.HandleWord, error) {
	w, err := t.get(row)
	if err != nil {
		return 0, fmt.Errorf("row %d of handles: %w", row, err)
	}
	return abi.HandleWord(w), nil
}

// find reads the word of the handle with a number; ok is false if it is gone.
func (t *handleTable) find(id uint64) (row uint32, w abi.HandleWord, ok bool, err error) {
	row = uint32(abi.HandleRow(id))
	if row >= t.limit {
		return row, 0, false, nil
	}
	w, err = t.word(row)
	return row, w, err == nil && w.State() != abi.HandleFree && abi.HandleID(uint16(row), w.Generation()) == id, err
}

// change makes the word of a row next, if it is old.
func (t *handleTable) change(row uint32, old, next abi.HandleWord) (bool, error) {
	done, err := t.swap(row, uint64(old), uint64(next))
	if err != nil {
		return false, fmt.Errorf("row %d of handles: %w", row, err)
	}
	return done, nil
}

// offer makes a handle of a free row, and returns its number.
func (t *handleTable) offer(o HandleOffer, incarnation uint32) (uint64, error) {
	row := t.next
	switch n := len(t.free); {
	case n > 0:
		row, t.free = t.free[n-1], t.free[:n-1]
	case t.next < t.limit:
		t.next++
	default:
		return 0, fmt.Errorf("%w: there are %d", ErrNoHandles, t.limit)
	}
	id, err := t.fill(row, o, incarnation)
	if err != nil {
		t.free = append(t.free, row)
		return 0, err
	}
	mark(t.byGate, incarnation, row)
	return id, nil
}

func (t *handleTable) fill(row uint32, o HandleOffer, incarnation uint32) (uint64, error) {
	old, err := t.word(row)
	if err != nil {
		return 0, err
	}
	// The size comes before the word: a filter that sees the word sees it, too. The word
	// of a free row is changed by no filter, so that it may be written as it is.
	b := binary.LittleEndian.AppendUint64(nil, uint64(old))
	if err := t.words.Put(row, binary.LittleEndian.AppendUint64(b, o.Size)); err != nil {
		return 0, fmt.Errorf("row %d of handles: %w", row, err)
	}
	w := abi.MakeHandleWord(o.Kind, o.Write, o.Dir, old.Next(), incarnation)
	done, err := t.change(row, old, w)
	if err == nil && !done {
		err = fmt.Errorf("row %d of handles is in use, and was thought free", row)
	}
	return abi.HandleID(uint16(row), w.Generation()), err
}

// end frees the row of a handle, whatever its state. If the handle is in a
// message that is being judged, it waits for the filter to end.
func (t *handleTable) end(id uint64) error {
	for range forgetTries {
		row, w, ok, err := t.find(id)
		if err != nil || !ok {
			return err
		}
		if w.State() == abi.HandleReserved {
			if err := graceperiod(); err != nil {
				return err
			}
			continue
		}
		if done, err := t.change(row, w, w.Free()); done || err != nil {
			t.drop(row, w, done)
			return err
		}
	}
	return fmt.Errorf("handle %d: %w", id, ErrRace)
}

// drop notes that a row is free.
func (t *handleTable) drop(row uint32, w abi.HandleWord, done bool) {
	if !done {
		return
	}
	for _, m := range []map[uint32]map[uint32]bool{t.byGate, t.found} {
		if rows := m[w.Incarnation()]; rows[row] {
			if delete(rows, row); len(rows) == 0 {
				delete(m, w.Incarnation())
			}
		}
	}
	t.free = append(t.free, row)
}

// release ends all handles of a gate by which no message passes any more.
func (t *handleTable) release(incarnation uint32) error {
	var errs []error
	for _, row := range slices.Collect(maps.Keys(t.byGate[incarnation])) {
		w, err := t.word(row)
		if err == nil {
			err = t.end(abi.HandleID(uint16(row), w.Generation()))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Offer lets one message of the gate carry a handle that is as o says, and
// returns the number that it must have there. The error is ErrNoHandles if there
// is no room, os.ErrClosed if the gate is closed or revoked.
func (g *Gate) Offer(o HandleOffer) (id uint64, err error) {
	f := g.r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case g.closed || g.revoked:
		err = os.ErrClosed
	case o.Kind == 0 || o.Kind > abi.MaxHandleKind || o.Dir > abi.Reply:
		err = fmt.Errorf("kind %d, direction %d: there is no such handle", o.Kind, o.Dir)
	default:
		id, err = f.handles.offer(o, g.incarnation)
	}
	if err != nil {
		return 0, fmt.Errorf("offer of a handle on gate %d: %w", g.Index, err)
	}
	return id, nil
}

// Handle says how far a handle has come. One that is in a message which is being
// judged is offered: the message may be denied yet.
func (f *Fabric) Handle(id uint64) (HandleState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, w, ok, err := f.handles.find(id)
	switch {
	case err != nil || !ok:
		return HandleGone, err
	case w.State() == abi.HandleAdmitted:
		return HandleAdmitted, nil
	}
	return HandleOffered, nil
}

// TakeHandle ends a handle that was admitted, and reports whether it was: true
// once for each message that carried one. If the handle is not admitted,
// nothing changes.
func (f *Fabric) TakeHandle(id uint64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	row, w, ok, err := f.handles.find(id)
	if err != nil || !ok || w.State() != abi.HandleAdmitted {
		return false, err
	}
	done, err := f.handles.change(row, w, w.Free())
	f.handles.drop(row, w, done)
	return done, err
}

// ForgetHandle ends a handle, whatever its state: no message carries it from
// then on, and nobody takes it. One that is gone already is no error.
func (f *Fabric) ForgetHandle(id uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handles.end(id)
}
