package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ward/audit/event"
	"ward/image"
)

// Files in the run directory in which the audit writer notes who is who.
const (
	ChildrenFile = "audit.children" // by number
	GatesFile    = "audit.gates"    // who was given the last gates: users, children, and by which delegation
	ImageFile    = "audit.image"    // the image that is in force, if it is not that of the start
)

// Events and records name children, gates and what an image has by number. A writer
// that takes over reads them before the monitor has told it anew who is who, and of a
// child or gate that has gone since it is not told any more. So a writer notes who is
// who before it gives back the event that says so: whatever comes behind that can be
// read by the next one, too. Who is who does not depend on whether a batch is written,
// so the book has no part in it, but that it says whether the writer of its last batch did so
// (knownNote). What cannot be noted, as when the disk is full, costs what the next one knows
// until it is told; it is noted when that is possible again.
type known struct {
	dir      string
	children places
	gates    places
	gate     uint64    // number of the last one of gates
	image    []byte    // that could not be noted: what its file is to be
	retry    time.Time // when that is tried again which could not be noted
	unsaid   error     // why something could not be, of which there is no record yet
}

// knownNote is, instead of a ring's, the note in the book of a writer that notes who is
// who. One of an earlier version does not: if there was one since (an upgrade was taken back), what was
// noted before it is of others.
const knownNote = event.Once - 1

// retryTime is how long it is not tried again to note what could not be noted.
const retryTime = time.Second

// maxGuests is of how many gates it is noted who is at them: those of which records may
// not be written yet. Of older ones that are open the monitor tells.
const maxGuests = 1024

// openKnown returns a translator that knows who is who, as far as a writer before this
// one did.
func openKnown(cfg Config, book *book) (*translator, *known, error) {
	t := newTranslator(cfg.Image)
	k := &known{dir: cfg.RunDir, children: places{path: filepath.Join(cfg.RunDir, ChildrenFile)}, gates: places{path: filepath.Join(cfg.RunDir, GatesFile)}}
	stale := []string{k.newImage()} // half written
	last, _ := book.of(knownNote)
	cfg.Again = cfg.Again && last.batch == book.head.batch
	if cfg.Again {
		k.read(t)
		t = t.keptImage(cfg.RunDir)
	} else { // of an earlier system, or version
		stale = append(stale, k.children.path, k.gates.path, filepath.Join(cfg.RunDir, ImageFile))
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("audit: %w", err)
		}
	}
	return t, k, nil
}

// read takes what is noted of children and gates.
func (k *known) read(t *translator) {
	for at, b := range k.children.all() {
		if e, err := event.Decode(b); err == nil && e.Kind == event.Child && placeOf(&e) == at {
			t.children.tell(&e)
		}
	}
	last := map[uint64]event.Event{} // by number
	for at, b := range k.gates.all() {
		if e, err := event.Decode(b); err == nil && e.Kind == event.Gate && e.Number%maxGuests == uint64(at) {
			last[e.Number] = e
			k.gate = max(k.gate, e.Number)
		}
	}
	for n := k.gate - min(k.gate, maxGuests-1); n <= k.gate; n++ {
		if e, is := last[n]; is {
			t.enter(&e)
		}
	}
}

// placeOf is the place of a child; below 0: that is not the number of one.
func placeOf(e *event.Event) int {
	if e.Domain < image.FirstChild || int(e.Domain-image.FirstChild) >= image.MaxChildren {
		return -1
	}
	return int(e.Domain - image.FirstChild)
}

// noteChild notes who a child is.
func (k *known) noteChild(e *event.Event) error {
	said := event.Event{Kind: event.Child, Domain: e.Domain, List: e.List, Text: e.Text}
	return k.noted(k.children.put(placeOf(e), said.Encode()))
}

// noteGate notes who is at a gate since a time.
func (k *known) noteGate(e *event.Event, since uint64) error {
	said := *e
	k.gate++
	said.Kind, said.Number, said.Time = event.Gate, k.gate, since
	return k.noted(k.gates.put(int(k.gate%maxGuests), said.Encode()))
}

func (k *known) close() {
	k.children.close()
	k.gates.close()
}

// The file of the image: when it came into force (CLOCK_BOOTTIME, ns, 8 bytes, little
// endian), then the image. It is put in the place of the one before whole.

// noteImage notes the image that is in force.
func (k *known) noteImage(encoded []byte, since uint64) error {
	return k.noted(k.writeImage(append(binary.LittleEndian.AppendUint64(nil, since), encoded...)))
}

func (k *known) writeImage(b []byte) error {
	k.image = b
	f, err := openOwn(k.newImage(), os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(k.newImage(), filepath.Join(k.dir, ImageFile))
	}
	if err != nil {
		os.Remove(k.newImage()) // it would take what is left of the disk
		return err
	}
	k.image = nil
	return nil
}

func (k *known) newImage() string { return filepath.Join(k.dir, ImageFile+".new") }

// noted remembers why something cannot be noted.
func (k *known) noted(err error) error {
	if err != nil {
		k.unsaid = err
	}
	return err
}

// again notes what could not be noted before, if it is time for it. It returns why something
// cannot be noted, once.
func (k *known) again(now time.Time) error {
	err := k.unsaid
	k.unsaid = nil
	if !k.failed() || now.Before(k.retry) {
		return err
	}
	k.retry = now.Add(retryTime)
	if k.image != nil {
		k.writeImage(k.image) // errors: later
	}
	k.children.rewrite()
	k.gates.rewrite()
	return err
}

// failed reports whether something could not be noted.
func (k *known) failed() bool { return k.image != nil || k.children.failed || k.gates.failed }

// keptImage returns a translator by the image that a writer before this one noted; t,
// that of the start, if there is none, or it cannot be read.
func (t *translator) keptImage(dir string) *translator {
	b, err := os.ReadFile(filepath.Join(dir, ImageFile))
	if err != nil || len(b) < 8 {
		return t
	}
	n, err := t.renewed(b[8:], binary.LittleEndian.Uint64(b))
	if err != nil {
		return t
	}
	return n
}
