package keep

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"ward/holder/link"
)

// pipe is a descriptor, and a way to see whether it is closed.
func pipe(t *testing.T) (*os.File, func() bool) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); r.Close() })
	return w, func() bool {
		_, err := w.Stat()
		return err != nil
	}
}

// given is what a monitor receives of a store.
func given(t *testing.T, s *Store) (names []string, files int) {
	t.Helper()
	ours, theirs, err := link.Pair("test")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	monitor, err := link.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	sent := make(chan error, 1)
	go func() { sent <- s.Give(ours) }()
	for {
		kind, text, got, err := monitor.Hear()
		if err != nil {
			t.Fatal(err)
		}
		files += len(got)
		link.CloseAll(got)
		switch kind {
		case link.Whole:
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			return names, files
		case link.Kept:
			names = append(names, text)
		case link.Many:
			all, err := link.Unpack(text)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, all...)
		}
	}
}

// What was put is given in its order, with its descriptors; what came again, in
// its last place; what was dropped, not.
func TestGive(t *testing.T) {
	var s Store
	if names, _ := given(t, &s); len(names) != 0 {
		t.Errorf("nothing is %q", names)
	}
	first, firstClosed := pipe(t)
	second, secondClosed := pipe(t)
	long := strings.Repeat("x", link.MaxMessage-1-len("long\x00"))
	for _, p := range []struct {
		text  string
		files []*os.File
	}{{"a\x001", nil}, {"b\x002", []*os.File{first}}, {"c\x003", nil}, {"b\x004", []*os.File{second}}, {"long\x00" + long, nil}, {"gone\x005", nil}, {"a\x006", nil}} {
		if err := s.Put(p.text, p.files); err != nil {
			t.Fatal(err)
		}
	}
	s.Drop("gone")
	s.Drop("never there")
	for i := range 200 { // more than one message
		if err := s.Put(fmt.Sprintf("n%d\x00%s", i, strings.Repeat("y", 200)), nil); err != nil {
			t.Fatal(err)
		}
	}
	names, files := given(t, &s)
	want := []string{"c\x003", "b\x004", "long\x00" + long, "a\x006"}
	for i, w := range want {
		if i >= len(names) || names[i] != w {
			t.Fatalf("at %d: want %.20q", i, w)
		}
	}
	if len(names) != len(want)+200 || files != 1 {
		t.Errorf("%d things with %d descriptors", len(names), files)
	}
	if !firstClosed() || secondClosed() {
		t.Errorf("closed: what was replaced %v, what is kept %v", firstClosed(), secondClosed())
	}
	s.Close()
	if !secondClosed() || s.bytes != 0 || s.files != 0 || len(s.entries) != 0 {
		t.Errorf("after the end: closed %v, %+v", secondClosed(), s)
	}
}

// A monitor cannot make the holder keep without end.
func TestKeepIsBounded(t *testing.T) {
	var s Store
	value := strings.Repeat("x", link.MaxMessage/2)
	for i := range 2 * maxBytes / len(value) {
		f, closed := pipe(t)
		err := s.Put(fmt.Sprintf("%d\x00%s", i, value), []*os.File{f})
		if s.bytes > maxBytes {
			t.Fatalf("%d bytes are kept", s.bytes)
		}
		if err != nil {
			if !closed() {
				t.Error("what is not kept is left open")
			}
			return
		}
		s.Drop(fmt.Sprint(i)) // the descriptor
		if err := s.Put(fmt.Sprintf("%d\x00%s", i, value), nil); err != nil {
			return // the control: as much as the bound was kept
		}
	}
	t.Error("everything was kept")
}
