package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
)

// A holding Source keeps what was read until it is released (kernel.Ring).
type holding interface {
	Source
	Hold(at uint64)
	At() uint64
	Release(at uint64)
	Size() int
	Held() bool
	Next() (abi.Record, bool, error)
}

// lookAgain is how often a ring is looked at while something of it is not written
// yet: the kernel tells of a new record only when all before it are given back.
const lookAgain = time.Millisecond

// openFiles opens the audit file, a new one or that of a writer that died, and the book.
func openFiles(cfg Config) (*os.File, *book, error) {
	path := filepath.Join(cfg.RunDir, File)
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if !cfg.Again {
		if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("audit: %w", err)
		}
		flags |= os.O_EXCL
	}
	file, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return nil, nil, fmt.Errorf("audit: %w", err)
	}
	st, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("audit: %w", err)
	}
	book, length, err := openBook(cfg.RunDir, cfg.Again, st.Size())
	if err == nil && length < st.Size() {
		err = file.Truncate(length) // lines that were not written to their end
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	book.head.end = uint64(length)
	return file, book, nil
}

// resume sets a ring to where a writer before this one was.
func (w *writer) resume(r *ring) {
	n, known := w.book.of(r.endpoint)
	if known {
		r.gaps.next, r.done = n.next, n.at
		for _, g := range n.gaps {
			if g.size() > 0 && g.to > 0 {
				r.gaps.open = append(r.gaps.open, gap{g.from, g.to, time.Now()})
			}
		}
		r.denials.over = max(r.denials.over, n.over)
		r.denials.since = time.Now()
	}
	if h, ok := r.source.(holding); ok {
		h.Hold(n.at)
	}
}

func (w *writer) readRing(r *ring) {
	h, holds := r.source.(holding)
	held := uint64(0)
	give := func(k *abi.Record) {
		i := item{ring: r, time: k.Time, record: k}
		if holds {
			i.at = h.At()
			held += recordRoom
			i.urgent = held > uint64(h.Size())/4
		}
		w.in <- i
	}
	rest := func() {
		for holds {
			k, more, _ := h.Next()
			if !more {
				return
			}
			give(&k)
		}
	}
	for {
		rest()
		if holds && h.Held() && !r.draining.Load() {
			select {
			case <-r.turned:
				held = 0
			case <-time.After(lookAgain):
			}
			continue
		}
		// Nothing is held: the kernel tells of the next record.
		k, err := r.source.Read()
		if err != nil {
			rest() // what came since the last look
			w.in <- item{ring: r, time: event.Now()}
			return
		}
		give(&k)
	}
}

// drain makes the reader return what is there, and then end.
func (r *ring) drain() {
	r.draining.Store(true)
	r.source.Drain()
}

// recordRoom is what a record takes in a ring, about, in bytes.
const recordRoom = 200

// did notes that a record is among the lines of this batch.
func (w *writer) did(it *item) {
	if w.touched == nil {
		w.touched = map[*ring]bool{}
	}
	it.ring.done = max(it.ring.done, it.at)
	w.touched[it.ring] = true
}

// take takes an event. What a writer before this one has written a line of is
// not written again; what else it says is new to this one.
func (w *writer) take(it *item) {
	e := it.event
	w.taken++
	h := &w.head
	if told := e.Recorded(); told != 0 {
		if told <= w.told { // by a monitor that died since
			link.CloseAll(it.files)
			h.event = max(h.event, e.Number)
			return
		}
		w.told = told
	}
	known := e.Number != 0 && e.Number <= w.before.event || e.Number == 0 && e.Time <= w.before.notice
	h.event = max(h.event, e.Number)
	if e.Number == 0 {
		h.notice = max(h.notice, e.Time)
	}
	switch e.Kind {
	case event.RingGone:
		w.gone = append(w.gone, *it) // after the records of this batch
		return
	case event.Ring, event.Output, event.Image, event.Child, event.Known, event.Stopped:
	case 0:
		return
	case event.Gate:
		if known {
			w.enter(e)
		}
		fallthrough
	default:
		if known {
			link.CloseAll(it.files)
			return
		}
	}
	w.event(e, it.files)
}

// ringGone reads the rest of a ring whose sender has sent its last, in this
// batch: nobody else has the ring any more.
func (w *writer) ringGone(e *event.Event, files []*os.File) {
	r := w.rings[e.Endpoint]
	if r == nil {
		if _, known := w.book.of(e.Endpoint); !known || len(files) == 0 {
			link.CloseAll(files)
			return
		}
		e := *e
		w.addRing(&e, files)
		if r = w.rings[e.Endpoint]; r == nil {
			return
		}
	} else {
		link.CloseAll(files)
	}
	delete(w.rings, e.Endpoint)
	r.total, r.counted = e.Count, true
	mine := func(it item) bool {
		if it.ring != r {
			return false
		}
		if it.record != nil {
			w.record(r, it.record)
			w.did(&it)
		} else {
			r.ended = true
			w.open--
		}
		return true
	}
	w.late = slices.DeleteFunc(w.late, mine)
	w.next = slices.DeleteFunc(w.next, mine)
	r.drain()
	for !r.ended {
		if it := <-w.in; !mine(it) {
			w.next = append(w.next, it)
		}
	}
	w.settle(r)
}

// commit writes the lines of the batch, and gives back what they were made of.
func (w *writer) commit() {
	if len(w.lines.buf) == 0 && w.taken == 0 && len(w.touched) == 0 && len(w.ended) == 0 {
		return
	}
	for _, r := range w.rings {
		// What was withheld or is missing changes without a record, too.
		if w.touched[r] || r.denials.over != 0 || len(r.gaps.open) > 0 {
			w.note(r)
		}
	}
	for _, endpoint := range w.ended {
		w.book.forget(endpoint)
	}
	if err := w.known.again(time.Now()); err != nil {
		w.lines.add(Record{Event: EventNotice, Time: w.t.time(event.Now()),
			Detail: fmt.Sprintf("who is who cannot be noted for a writer after this one, whose records may lack names: %v", err)})
	}
	w.book.note(note{endpoint: knownNote}) // that it is (known.go)
	if n, _ := w.book.of(event.Once); n.at != w.told {
		w.book.note(note{endpoint: event.Once, at: w.told}) // an error: as of a ring
	}
	h := w.head
	h.start, h.end, h.seq = w.length, w.length+uint64(w.lines.pending()), w.lines.seq
	w.book.turn(h) // an error, like a full disk, costs what a writer after this one knows
	w.lines.flush()
	w.length = h.end
	if st, err := w.file.Stat(); err == nil && uint64(st.Size()) != h.end {
		w.length = uint64(st.Size()) // not all of it could be written, which is counted
		w.book.head.end = w.length
		w.book.sign()
	}
	for range w.taken {
		w.cfg.Events.Skip() // an error: a writer after this one finds it again, and knows its number
	}
	for r := range w.touched {
		if h, ok := r.source.(holding); ok && !r.finished {
			h.Release(r.done)
		}
		select {
		case r.turned <- struct{}{}:
		default:
		}
	}
	clear(w.touched)
	w.taken, w.ended = 0, nil
}

// note notes how far a ring is written.
func (w *writer) note(r *ring) {
	n := note{endpoint: r.endpoint, at: r.done, next: r.gaps.next, over: r.denials.over}
	for i, g := range r.gaps.open {
		if i < maxNoted {
			n.gaps[i] = g
		} else {
			n.gaps[maxNoted-1].to += g.size() // not where it is, but as much
		}
	}
	w.book.note(n) // an error costs what a writer after this one knows
}
