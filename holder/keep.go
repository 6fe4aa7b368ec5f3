package holder

import (
	"fmt"
	"os"
	"strings"

	"ward/holder/link"
)

// What the monitor gives to be kept is not looked at: a name, some bytes and
// some descriptors. All of it goes to the next monitor.

// Bounds of what is kept. The monitor's own bounds are far below.
const (
	maxEntries = 1 << 18
	maxBytes   = 64 << 20 // of names and values
	maxKept    = 1 << 17  // descriptors
)

type entry struct {
	value string
	files []*os.File
}

// A store is what is kept.
type store struct {
	entries map[string]entry
	order   []string // of the first time
	bytes   int
	files   int
}

// put keeps files and a value, given as NAME, a zero byte, and the value, in
// place of what had the name.
func (s *store) put(text string, files []*os.File) error {
	name, value, _ := strings.Cut(text, "\x00")
	s.drop(name)
	if len(s.entries) >= maxEntries || s.bytes+len(text) > maxBytes || s.files+len(files) > maxKept {
		link.CloseAll(files)
		return fmt.Errorf("the monitor keeps more than %d things, %d bytes or %d descriptors", maxEntries, maxBytes, maxKept)
	}
	if s.entries == nil {
		s.entries = map[string]entry{}
	}
	s.entries[name] = entry{value, files}
	s.order = append(s.order, name)
	s.bytes += len(name) + len(value)
	s.files += len(files)
	return nil
}

func (s *store) drop(name string) {
	e, there := s.entries[name]
	if !there {
		return
	}
	delete(s.entries, name)
	s.bytes -= len(name) + len(e.value)
	s.files -= len(e.files)
	link.CloseAll(e.files)
	if len(s.order) > 2*len(s.entries)+64 { // most names in it are gone
		s.order = s.names()
	}
}

// names lists what is kept, in the order in which it came.
func (s *store) names() (names []string) {
	seen := map[string]bool{}
	for i := len(s.order) - 1; i >= 0; i-- { // what came again stands where it came last
		if n := s.order[i]; !seen[n] {
			seen[n] = true
			if _, there := s.entries[n]; there {
				names = append(names, n)
			}
		}
	}
	for i, j := 0, len(names)-1; i < j; i, j = i+1, j-1 {
		names[i], names[j] = names[j], names[i]
	}
	return names
}

// give sends all that is kept to a new monitor.
func (s *store) give(to *link.Conn) error {
	for _, n := range s.names() {
		e := s.entries[n]
		if err := to.Tell(link.Kept, n+"\x00"+e.value, e.files...); err != nil {
			return err
		}
	}
	return to.Tell(link.Whole, "")
}

func (s *store) close() {
	for _, e := range s.entries {
		link.CloseAll(e.files)
	}
}
