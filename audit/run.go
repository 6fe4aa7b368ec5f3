package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

// A Source is a ring buffer. Read waits for a record. After Drain it does not
// wait: it returns what is there, and then an error; after Close, an error.
type Source interface {
	Read() (abi.Record, error)
	Drain() error
	Close() error
}

// Config is what the audit writer is made of.
type Config struct {
	Image    *image.Image
	RunDir   string
	Events   *link.Conn // from the monitor, and from the holder
	OpenRing func(*os.File) (Source, error)
	Again    bool // a writer before this one has died: go on where it was
}

const (
	batchTime = 5 * time.Millisecond // records of this span are put in order
	batchMax  = 4096                 // records
	drainTime = 2 * time.Second      // for what is left at the end
)

// A writer is the audit writer's state. One goroutine (Run) translates and
// writes; others only wait for records and put them into in.
type writer struct {
	cfg   Config
	t     *translator
	lines lineWriter
	logs  logs
	in    chan item
	rings map[uint32]*ring   // by endpoint
	short map[*ring]struct{} // those of which something is missing
	open  int                // rings that may still give records
	end   *event.Event       // Stopped: written last
	// budgets are those of senders, by label: a user may have many rings, one after another.
	budgets map[string]*budget
	late    []item // to be looked at again with the next batch
	// gapped: numbers are missing whose records may come yet.
	gapped bool
	wait   sync.WaitGroup

	book    *book
	known   *known
	file    *os.File
	length  uint64         // of the file
	touched map[*ring]bool // of this batch
	ended   []uint32       // rings that are over with this batch
	taken   int            // events of this batch
	told    uint64         // the last event that is recorded once (event.Once)
	head    header
	before  header // of the writer before this one
	gone    []item
	next    []item // for the next batch
}

// An item is a record of a ring, an event, or the end of one of them.
type item struct {
	time   uint64
	ring   *ring
	record *abi.Record // nil and ring: the ring has ended
	event  *event.Event
	files  []*os.File
	size   int    // of the event's message, in bytes
	eof    bool   // of the events
	tries  int    // how often it was late
	at     uint64 // position in the ring after the record
	urgent bool   // the ring is filling up
}

// maxTries bounds how long a record waits for the event that says who the user
// at its gate is: the two come on different ways.
const maxTries = 40

// A ring is one sender.
type ring struct {
	source   Source
	label    string // of the sender
	user     bool
	gaps     gaps
	denials  *budget
	total    uint64 // records in all, once the sender has sent its last
	ended    bool
	counted  bool // total is known
	endpoint uint32
	done     uint64        // written up to here
	turned   chan struct{} // has an element after a batch with records of it
	finished bool
	draining atomic.Bool // whoever waits for records is to end
	held     bool        // its items wait for the next batch, in their order
}

// Run is the audit writer's process: it writes until all that can send events
// have closed their end and the rings are empty. An error says that nothing
// can be written at all.
func Run(cfg Config) error {
	if err := os.MkdirAll(filepath.Join(cfg.RunDir, LogDir), 0o750); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	file, book, err := openFiles(cfg)
	if err != nil {
		return err
	}
	defer file.Close()
	defer book.file.Close()
	t, known, err := openKnown(cfg, book)
	if err != nil {
		return err
	}
	defer known.close()
	w := &writer{cfg: cfg, t: t, known: known, lines: lineWriter{out: file, now: time.Now, seq: book.head.seq},
		book: book, length: book.head.end, head: book.head, before: book.head, file: file, logs: logs{dir: filepath.Join(cfg.RunDir, LogDir), again: cfg.Again},
		in: make(chan item, 256), rings: map[uint32]*ring{}, short: map[*ring]struct{}{}, budgets: map[string]*budget{}}
	told, _ := book.of(event.Once)
	w.told = told.at
	go w.readEvents()
	w.loop()
	return nil
}

func (w *writer) readEvents() {
	buf := make([]byte, event.MaxEvent)
	for {
		n, files, err := w.cfg.Events.Peek(buf, 1)
		if errors.Is(err, link.ErrTruncated) {
			w.in <- item{time: event.Now(), event: new(event.Event)} // of no kind: it is taken out in its turn
			continue
		}
		if err != nil {
			w.in <- item{eof: true}
			return
		}
		e, err := event.Decode(buf[:n])
		if err != nil {
			link.CloseAll(files)
			e = event.Event{Time: event.Now()}
			files = nil
		}
		w.in <- item{time: e.Time, event: &e, files: files, size: n}
	}
}

// loop collects what comes within a short time, puts it in order, and writes
// it, until the end.
func (w *writer) loop() {
	var deadline <-chan time.Time // for the rings, after the events have ended
	closed := false
	for !closed || w.open > 0 {
		batch := append(w.late, w.next...)
		w.late, w.next = nil, nil
		var flush <-chan time.Time
		if len(batch) > 0 || w.gapped {
			flush = time.After(batchTime)
		}
		select {
		case i := <-w.in:
			batch = append(batch, i)
			if flush == nil {
				flush = time.After(batchTime)
			}
		case <-flush:
			flush = nil
		case <-deadline:
			for _, r := range w.rings {
				r.source.Close()
			}
			deadline = nil
		}
		for flush != nil && len(batch) < batchMax {
			select {
			case i := <-w.in:
				batch = append(batch, i)
				if i.urgent {
					flush = nil
				}
			case <-flush:
				flush = nil
			}
		}
		if !closed {
			batch = w.upToDate(batch)
		}
		if w.write(batch) {
			closed = true
			deadline = time.After(drainTime)
			for _, r := range w.rings {
				r.drain()
			}
		}
	}
	w.finish()
}

// write writes a batch in order of time, and reports whether the events ended.
// Events come first where they name what records refer to: the monitor sends
// them before it hands a gate over.
func (w *writer) write(batch []item) (eof bool) {
	w.t.clocks()
	slices.SortStableFunc(batch, func(a, b item) int { return cmp.Compare(a.time, b.time) })
	for i := range batch {
		it := &batch[i]
		switch {
		case it.ring != nil && w.hold(it):
			w.late = append(w.late, *it)
		case it.eof:
			eof = true
		case it.event != nil:
			w.take(it)
		case it.record != nil:
			w.record(it.ring, it.record)
			w.did(it)
		default:
			it.ring.ended = true
			w.open--
			w.settle(it.ring)
		}
	}
	for i := range w.gone {
		w.ringGone(w.gone[i].event, w.gone[i].files)
	}
	w.gone = nil
	w.gapped = w.expire()
	w.commit()
	for i := range w.late {
		w.late[i].ring.held = false
	}
	return eof
}

// hold reports whether an item of a ring must wait: its record is of a user
// that is not known yet, or one before it waits.
func (w *writer) hold(it *item) bool {
	r := it.ring
	if !r.held && it.tries < maxTries && it.record != nil && w.t.stranger(it.record) {
		r.held = true
	}
	it.tries++
	return r.held
}

func (w *writer) event(e *event.Event, files []*os.File) {
	switch e.Kind {
	case event.Ring:
		w.addRing(e, files)
	case event.Output:
		if name := w.t.domain(e.Domain); name != "" && len(files) == 1 {
			if pipe, err := pollable(files[0]); err == nil {
				w.logs.follow(name, e.Endpoint, pipe)
				return
			}
		}
		link.CloseAll(files)
	case event.Image:
		w.renew(e, files)
	case event.Child:
		link.CloseAll(files)
		if w.t.children.tell(e) {
			w.known.noteChild(e)
		}
	case event.Known:
		link.CloseAll(files)
		w.enter(e)
	case event.Stopped:
		w.end = e
	default:
		link.CloseAll(files)
		if e.Kind == event.Gate {
			w.enter(e)
		}
		if r, ok := w.t.event(e); ok {
			w.lines.add(r)
		}
	}
}

// renew reads what comes by the image of an event.
func (w *writer) renew(e *event.Event, files []*os.File) {
	defer link.CloseAll(files)
	if w.t.has(e) {
		return
	}
	var t *translator
	encoded, err := encodedOf(files)
	if err == nil {
		t, err = w.t.renewed(encoded, e.Time)
	}
	if err != nil {
		w.lines.add(Record{Event: EventNotice, Time: w.t.time(e.Time), Detail: fmt.Sprintf("the new image cannot be read, and records may lack names: %v", err)})
		return
	}
	w.t = t
	w.known.noteImage(encoded, e.Time)
}

// enter notes who is at a gate.
func (w *writer) enter(e *event.Event) {
	if w.t.enter(e) {
		w.known.noteGate(e, w.t.entered(e.Gate))
	}
}

func (w *writer) addRing(e *event.Event, files []*os.File) {
	label := w.t.domain(e.Domain)
	if label == "" {
		label = userLabel(e.UID, e.Text)
	}
	if len(files) != 1 || w.rings[e.Endpoint] != nil {
		link.CloseAll(files)
		return
	}
	source, err := w.cfg.OpenRing(files[0])
	if err != nil {
		w.lines.add(Record{Event: EventNotice, Time: w.t.time(e.Time), Detail: fmt.Sprintf("the records of %s cannot be read: %v", label, err)})
		return
	}
	r := &ring{source: source, label: label, user: e.Domain == abi.NoDomain, gaps: gaps{next: 1}, denials: w.budget(label),
		endpoint: e.Endpoint, turned: make(chan struct{}, 1)}
	w.resume(r)
	w.rings[e.Endpoint] = r
	w.mind(r)
	w.open++
	go w.readRing(r)
}

// record writes a record of a filter.
func (w *writer) record(r *ring, k *abi.Record) {
	now := time.Now()
	w.missing(r, r.gaps.see(k.Seq, now))
	defer w.mind(r)
	if !k.Reason.Allowed() && !r.denials.spend(now) {
		return
	}
	line := w.t.at(k.Time).record(k)
	if r.user && line.From == "user" {
		line.From = r.label
	}
	w.lines.add(line)
}

func (w *writer) missing(r *ring, n uint64) {
	if n > 0 {
		w.lines.add(Record{Event: EventLost, Time: w.t.time(event.Now()), From: r.label, Lost: n, Detail: "records of messages, which came faster than they could be written"})
	}
}

// maxBudgets bounds what is remembered of senders that have gone.
const maxBudgets = 4096

func (w *writer) budget(label string) *budget {
	b := w.budgets[label]
	if b == nil {
		if len(w.budgets) >= maxBudgets {
			clear(w.budgets) // rings keep theirs
		}
		b = new(budget)
		w.budgets[label] = b
	}
	return b
}

// withheld tells of records that came and were not written.
func (w *writer) withheld(r *ring, n uint64) {
	if n > 0 {
		w.lines.add(Record{Event: EventLost, Time: w.t.time(event.Now()), From: r.label, Lost: n,
			Detail: fmt.Sprintf("records of denied messages beyond %d at once and %d a second", denialBurst, denialRate)})
	}
}

// expire reports what has been missing for too long, and whether something
// else is missing.
func (w *writer) expire() (more bool) {
	now := time.Now()
	for r := range w.short {
		w.missing(r, r.gaps.expire(now))
		w.withheld(r, r.denials.due(now))
		if !r.short() {
			delete(w.short, r)
		}
	}
	return len(w.short) > 0
}

// short reports whether something of a ring is missing.
func (r *ring) short() bool { return len(r.gaps.open) > 0 || r.denials.over > 0 }

// mind remembers a ring of which something is missing: of a thousand, a few are.
func (w *writer) mind(r *ring) {
	if r.short() {
		w.short[r] = struct{}{}
	}
}

// settle counts what was lost at the end of a sender, when all is known.
func (w *writer) settle(r *ring) {
	if r.ended && r.counted {
		r.finished = true
		w.ended = append(w.ended, r.endpoint)
		r.source.Close()
		w.missing(r, r.gaps.finish(r.total))
		w.withheld(r, r.denials.rest())
	}
}

// finish writes the end.
func (w *writer) finish() {
	logged := make(chan struct{})
	go func() {
		w.logs.wait.Wait()
		close(logged)
	}()
	select {
	case <-logged:
	case <-time.After(drainTime): // something outside the domains holds their output
	}
	for _, r := range w.rings { // of senders whose total nobody told: the monitor has died
		w.missing(r, r.gaps.finish(0))
		w.withheld(r, r.denials.rest())
	}
	if w.end != nil {
		if r, ok := w.t.event(w.end); ok {
			w.lines.add(r)
		}
	}
	w.commit()
	if c, ok := w.lines.out.(io.Closer); ok {
		c.Close()
	}
}
