package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/image"
)

// ChildrenFile is where the audit writer notes, in the run directory, who the
// children are, and ImageFile the image that is in force, if it is not that of the
// start. Events name both by number.
//
// A writer that takes over reads what is in the channel before the monitor has told
// it anew who is who, and of a child that has ended since it is not told any more.
// So a writer notes who is who before it gives back the event that says so: whatever
// comes behind that in the channel can be read by the next one, too. Who is who does
// not depend on whether the batch is written, so the book has no part in it.
const (
	ChildrenFile = "audit.children"
	ImageFile    = "audit.image"
)

// openKnown returns a translator that knows who is who as far as a writer before this
// one did, and the roll.
func openKnown(cfg Config) (*translator, *roll, error) {
	t := newTranslator(cfg.Image)
	r := &roll{path: filepath.Join(cfg.RunDir, ChildrenFile)}
	if cfg.Again {
		r.read(t.children)
		return t.keptImage(cfg.RunDir), r, nil
	}
	for _, path := range []string{r.path, filepath.Join(cfg.RunDir, ImageFile)} { // of an earlier system
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("audit: %w", err)
		}
	}
	return t, r, nil
}

// A roll is the file of children: a place for each number that a child can have, in
// which is its last one. It is made for the first.
type roll struct {
	path string
	file *os.File
}

// placeSize is the size of a place, in bytes. It lies in one page, of which whoever
// is killed writes all or nothing. The file has at most 2 MiB.
const placeSize = 2 << 10

// read takes who is in the roll of a writer that died. What cannot be read the
// monitor says again.
func (r *roll) read(all children) {
	b, _ := os.ReadFile(r.path) // an error: there was no child
	for at := 0; at < len(b); at += placeSize {
		if e, ok := inPlace(b[at:min(at+placeSize, len(b))]); ok && placeOf(&e) == int64(at) {
			all.tell(&e)
		}
	}
}

// placeOf is where a child has its place; below 0: that is not the number of one.
func placeOf(e *event.Event) int64 {
	if e.Domain < image.FirstChild || int(e.Domain-image.FirstChild) >= image.MaxChildren {
		return -1
	}
	return int64(e.Domain-image.FirstChild) * placeSize
}

// inPlace reads a place: the length of the event, the event, a checksum of both.
func inPlace(b []byte) (event.Event, bool) {
	if len(b) < 4 {
		return event.Event{}, false
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > placeSize {
		return event.Event{}, false
	}
	raw := opened(b, 4+int(n))
	if raw == nil {
		return event.Event{}, false
	}
	e, err := event.Decode(raw[4:])
	return e, err == nil && e.Kind == event.Child
}

// note notes who a child is.
func (r *roll) note(e *event.Event) error {
	at := placeOf(e)
	if at < 0 {
		return fmt.Errorf("%d is not the number of a child", e.Domain)
	}
	said := (&event.Event{Kind: event.Child, Domain: e.Domain, List: e.List, Text: e.Text}).Encode()
	place := sealed(append(binary.LittleEndian.AppendUint32(nil, uint32(len(said))), said...))
	if len(place) > placeSize {
		return fmt.Errorf("what is said of %s takes %d bytes: there is room for %d", e.Text, len(place), placeSize)
	}
	if r.file == nil {
		f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		r.file = f
	}
	_, err := r.file.WriteAt(place, at)
	return err
}

func (r *roll) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// The file of the image: when it came into force (CLOCK_BOOTTIME, ns, 8 bytes, little
// endian), then the image. It is put in the place of the one before whole.

// keepImage notes the image that is in force.
func keepImage(dir string, encoded []byte, since uint64) error {
	path := filepath.Join(dir, ImageFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint64(nil, since), encoded...))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// keptImage returns a translator by the image that a writer before this one noted; t,
// that of the start, if there is none, or it cannot be read: then the monitor says it.
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
