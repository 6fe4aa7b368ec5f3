package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
)

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// block puts a directory, with something in it, where a file is to be: that can be
// neither written nor removed. The result takes it away.
func block(t *testing.T, path string) (free func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(path, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// labels are the children that a writer after this one knows.
func labels(k *known) (names []string) {
	next, t := &known{children: places{path: k.children.path}}, newTranslator(system())
	next.read(t)
	for _, c := range t.children {
		names = append(names, c.label)
	}
	slices.Sort(names)
	return names
}

// TestNotedWhenThereIsRoom: if it cannot be noted who a child is, a writer that takes over does
// not take it for the one that had its number before: it knows none. When there is room again, and a
// time has passed, it knows all. That it is so is said once.
func TestNotedWhenThereIsRoom(t *testing.T) {
	k := &known{dir: t.TempDir()}
	k.children.path = filepath.Join(k.dir, ChildrenFile)
	defer k.close()
	note := func(id abi.DomainID, name string) error {
		e := event.New(event.Child)
		e.Domain, e.Text = id, name
		return k.noteChild(&e)
	}
	for i, name := range []string{"leaf#1", "leaf#2"} {
		if err := note(leaf+abi.DomainID(i), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := labels(k); !slices.Equal(got, []string{"leaf#1", "leaf#2"}) {
		t.Fatalf("the next knows %q", got)
	}
	k.children.file.Close() // nothing can be written to it
	if err := note(leaf, "leaf#9"); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if got := labels(k); len(got) > 0 {
		t.Errorf("the next takes children for %q", got)
	}
	free := block(t, k.children.path)
	now := time.Now()
	if err := k.again(now); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it is not said: %v", err)
	}
	free()
	if err := note(leaf+2, "leaf#3"); err != nil {
		t.Error(err)
	}
	if err := k.again(now.Add(retryTime - 1)); err != nil || len(labels(k)) > 0 {
		t.Errorf("it is said again, %v, or the next knows %q", err, labels(k))
	}
	if err := k.again(now.Add(retryTime)); err != nil || k.failed() {
		t.Error(err)
	}
	if got := labels(k); !slices.Equal(got, []string{"leaf#2", "leaf#3", "leaf#9"}) {
		t.Errorf("the next knows %q", got)
	}
}

// TestNameWithoutPlace: who has a name that a place has no room for is not taken for whoever
// had the place before.
func TestNameWithoutPlace(t *testing.T) {
	k := &known{dir: t.TempDir()}
	k.children.path = filepath.Join(k.dir, ChildrenFile)
	defer k.close()
	for name, fits := range map[string]bool{"leaf#1": true, strings.Repeat("x", placeSize): false} {
		e := event.New(event.Child)
		e.Domain, e.Text = leaf, "leaf#0"
		if err := k.noteChild(&e); err != nil {
			t.Fatal(err)
		}
		e.Text = name
		if err := k.noteChild(&e); (err == nil) != fits || k.children.failed {
			t.Error(err)
		}
		if got := labels(k); fits != slices.Equal(got, []string{name}) || !fits && len(got) > 0 {
			t.Errorf("the next knows %q", got)
		}
	}
}

// TestImageWithoutRoom: an image that cannot be noted leaves nothing behind, and is noted
// when there is room. A writer that takes over removes what one left that died meanwhile.
func TestImageWithoutRoom(t *testing.T) {
	k := &known{dir: t.TempDir()}
	path := filepath.Join(k.dir, ImageFile)
	free := block(t, path)
	if err := k.noteImage([]byte("image"), 7); err == nil {
		t.Fatal("it is noted")
	}
	if _, err := os.Stat(k.newImage()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half of it is left: %v", err)
	}
	free()
	if err := k.again(time.Now()); err == nil || k.failed() || fileSize(t, path) != 8+5 {
		t.Errorf("it is not noted: %v", err)
	}

	a := run(t)
	a.dies()
	left := filepath.Join(a.dir, ImageFile+".new")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runIn(t, a.dir, true).finish()
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

// TestUnnotedIsSaid: what cannot be noted is said in the audit file, and the writer goes on.
// The control: it can be noted, and nothing is said.
func TestUnnotedIsSaid(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		dead := run(t)
		dead.dies()
		if blocked {
			block(t, filepath.Join(dead.dir, ChildrenFile))
		}
		a := runIn(t, dead.dir, true)
		a.child(leaf, "leaf#1", 1)
		want := a.aboutChild(leaf, "leaf#1")
		all := a.finish()
		said := slices.DeleteFunc(find(all, EventNotice), func(r Record) bool { return !strings.HasPrefix(r.Detail, "who is who cannot be noted") })
		if len(said) > 1 || (len(said) == 1) != blocked {
			t.Errorf("%+v", said)
		}
		if got := find(all, EventEnded); len(got) != 1 || got[0].Domain != want[0].Domain {
			t.Errorf("%+v", got)
		}
	}
}
