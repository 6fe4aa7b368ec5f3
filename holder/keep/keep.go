// Package keep is what the holder keeps for the next monitor. It is not looked at:
// a name, some bytes and some descriptors.
//
// Invariants: what is kept is bounded, and its descriptors are open exactly as
// long as it is kept.
package keep

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"ward/holder/link"
)

// Bounds of what is kept. The monitor's own bounds are far below.
const (
	maxEntries = 1 << 18
	maxBytes   = 64 << 20 // of names and values
	maxKept    = 1 << 17  // descriptors
)

type entry struct {
	text  string // name, a zero byte, value
	files []*os.File
	at    uint64 // place in the order of coming
}

// A Store is what is kept, by name. The zero value is empty.
type Store struct {
	entries map[string]entry
	came    uint64
	bytes   int
	files   int
}

// Put keeps files and a text, NAME, a zero byte and a value, in place of what
// had the name.
func (s *Store) Put(text string, files []*os.File) error {
	name, _, _ := strings.Cut(text, "\x00")
	s.Drop(name)
	if len(s.entries) >= maxEntries || s.bytes+len(text) > maxBytes || s.files+len(files) > maxKept {
		link.CloseAll(files)
		return fmt.Errorf("the monitor keeps more than %d things, %d bytes or %d descriptors", maxEntries, maxBytes, maxKept)
	}
	if s.entries == nil {
		s.entries = map[string]entry{}
	}
	s.came++
	s.entries[name] = entry{text, files, s.came}
	s.bytes += len(text)
	s.files += len(files)
	return nil
}

// Drop ends the keeping of what has a name, if anything has.
func (s *Store) Drop(name string) {
	e := s.entries[name]
	delete(s.entries, name)
	s.bytes -= len(e.text)
	s.files -= len(e.files)
	link.CloseAll(e.files)
}

// Give sends all that is kept to a new monitor, in the order in which it came:
// what has descriptors by itself, the rest as much as fits at a time.
func (s *Store) Give(to *link.Conn) error {
	inOrder := func(a, b entry) int { return cmp.Compare(a.at, b.at) }
	packed := ""
	flush := func() error {
		if packed == "" {
			return nil
		}
		err := to.Tell(link.Many, packed)
		packed = ""
		return err
	}
	for _, e := range slices.SortedFunc(maps.Values(s.entries), inOrder) {
		if len(e.files) == 0 {
			more, fits := link.Pack(packed, e.text)
			if fits {
				packed = more
				continue
			}
		}
		if err := flush(); err != nil {
			return err
		}
		if len(e.files) == 0 {
			packed, _ = link.Pack("", e.text)
		}
		if len(e.files) > 0 || packed == "" { // the longest fit alone, but not packed
			if err := to.Tell(link.Kept, e.text, e.files...); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return to.Tell(link.Whole, "")
}

// Close drops everything.
func (s *Store) Close() {
	for name := range s.entries {
		s.Drop(name)
	}
}
