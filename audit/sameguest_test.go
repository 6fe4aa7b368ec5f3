package audit

import (
	"testing"

	"ward/audit/event"
)

// TestGuestsSaidAgain: who is at a gate, and is told of again as known, is there since the
// first time, and takes nobody's place in what is remembered; somebody else does.
func TestGuestsSaidAgain(t *testing.T) {
	w := newTranslator(system())
	e := event.New(event.Gate)
	e.Allow, e.From, e.Text, e.List = true, 0, "first", []uint32{1, 0, 0}
	for i, x := range []struct {
		kind event.Kind
		text string
		is   bool
	}{{event.Gate, "first", true}, {event.Known, "first", false}, {event.Known, "second", true}, {event.Known, "second", false}} {
		e.Kind, e.Text, e.Time = x.kind, x.text, uint64(10*(i+1))
		if w.enter(&e) != x.is {
			t.Errorf("event %d: it is new or not", i)
		}
	}
	if at := w.entered(e.Gate); at != 30 {
		t.Errorf("there since %d, want 30", at)
	}
}
