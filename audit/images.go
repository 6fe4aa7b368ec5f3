package audit

import (
	"fmt"
	"io"
	"os"
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/filter"
	"ward/image"
)

// While a system runs it may get another image (event.Image), whose numbers
// are those of the one before where both have the same. A record is read by
// the image that was in force at its time. For a moment after a change some
// filters are still those of before: what their policy looked at is left out
// of a record where the two images disagree about it.

// swapTime is how long after the new image was told of filters of the old one
// may still write, in ns, unless the monitor says that the change is complete.
const swapTime = 5_000_000_000

// maxImages is how many images are remembered, for records that come late.
const maxImages = 4

// encodedOf reads the image that came with an event.
func encodedOf(files []*os.File) ([]byte, error) {
	if len(files) != 1 {
		return nil, fmt.Errorf("a new image without a descriptor")
	}
	return io.ReadAll(io.NewSectionReader(files[0], 0, image.MaxImage+1))
}

// has reports whether t is by the image of an event already, or by a later one: the
// monitor tells of it again when it, or the writer, is a new one.
func (t *translator) has(e *event.Event) bool {
	return t.before != nil && (e.Time <= t.since || e.Text != "" && e.Text == t.hash)
}

// renewed returns a translator by another image, with t for what is older than since.
func (t *translator) renewed(encoded []byte, since uint64) (*translator, error) {
	img, err := image.Decode(encoded)
	if err != nil {
		return nil, err
	}
	if !img.Aligned(t.img) {
		return nil, fmt.Errorf("a new image with other numbers than the one before")
	}
	n := newTranslator(img)
	n.gates, n.children = t.gates, t.children // one history: gates go on
	n.before, n.since, n.until, n.hash = t, since, since+swapTime, image.Hash(encoded)
	for i, old := 1, t; old != nil; i, old = i+1, old.before {
		if i >= maxImages {
			old.before = nil
		}
	}
	return n, nil
}

// at is the translator by the image that was in force at a time.
func (t *translator) at(time uint64) *translator {
	for t.before != nil && time < t.since {
		t = t.before
	}
	return t
}

// ambiguous reports whether a record may be of a filter of the image before,
// which looked at other parameters.
func (t *translator) ambiguous(k *abi.Record, params []filter.Param, atoms filter.Atoms) bool {
	if t.before == nil || k.Time > t.until || int(k.Route) >= len(t.before.img.Routes) {
		return false
	}
	was := t.before.paramsOf(k, atoms)
	return !slices.EqualFunc(was, params, func(a, b filter.Param) bool {
		return a.Name == b.Name && a.Count == b.Count && a.Text == b.Text && a.Type == b.Type
	})
}

// clocks sets the offset of all translators.
func (t *translator) clocks() {
	for ; t != nil; t = t.before {
		t.setClock()
	}
}
