package monitor

import (
	"slices"
	"strings"
	"testing"

	"ward/audit/event"
)

// How many stand at a limit is told again and again; a record is made of those that
// are more than before.
func TestStandsAt(t *testing.T) {
	s := startSystem(t, nil)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	d := s.m.domains[client]
	records := func() (n int) {
		s.audit.mu.Lock()
		defer s.audit.mu.Unlock()
		for _, e := range s.audit.events {
			if e.Kind == event.Quota {
				n++
			}
		}
		return n
	}
	for i, c := range []struct {
		limit LimitKind
		n     uint64
		more  uint64 // in the record; 0: there is none
		text  string
	}{
		{LimitFiles, 0, 0, ""},
		{LimitFiles, 1, 1, "files: a process of it has all descriptors open that it may have, 1024"},
		{LimitFiles, 1, 0, ""}, // another creator says so too
		{LimitFiles, 3, 2, "files: "},
		{LimitFiles, 2, 0, ""},
		{LimitFiles, 3, 1, "files: "},
		{LimitFiles, 0, 0, ""},
		{LimitFiles, 1, 1, "files: "},
		{LimitFileSize, 1, 1, "file_size: it was refused to write beyond the greatest size of a file, 1073741824 bytes"},
		{LimitTmp, 1, 1, "tmp: all is taken; at most 16777216 bytes"},
		{LimitTmpFiles, 1, 1, "tmp: no more files can be made"},
		{LimitTmpFiles + 1, 1, 0, ""}, // of no limit
	} {
		before := records()
		s.m.hit(d, Hit{Domain: client, Limit: c.limit, Count: c.n})
		if made := records() - before; made != int(min(c.more, 1)) {
			t.Errorf("%d: %d records", i, made)
			continue
		}
		if e := s.audit.last(event.Quota); c.more > 0 && (e.Domain != client || e.Count != c.more || !strings.HasPrefix(e.Text, c.text)) {
			t.Errorf("%d: %+v", i, e)
		}
	}
	if h := d.bounds(); h.Files != 5 || h.FileSize != 1 || h.Tmp != 2 || !slices.Equal(h.Now, []string{"files", "file_size", "tmp"}) {
		t.Errorf("%+v", h)
	}
	s.m.hit(d, Hit{Domain: client, Limit: LimitTmp})
	s.m.hit(d, Hit{Domain: client, Limit: LimitFiles})
	if h := d.bounds(); h.Tmp != 2 || !slices.Equal(h.Now, []string{"file_size", "tmp"}) { // of tmp the files
		t.Errorf("%+v", h)
	}
}
