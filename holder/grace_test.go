package holder

import (
	"testing"
	"time"

	"ward/holder/link"
)

// TestLongerGrace: what the monitor says of times of grace makes the holder wait longer for
// the end of domains, never shorter, and at most as long as system.yaml can state.
func TestLongerGrace(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
	}{
		{link.GraceText(time.Minute), time.Minute},
		{link.GraceText(time.Millisecond), 2 * time.Second},
		{link.GraceText(0), 2 * time.Second},
		{link.GraceText(-time.Hour), 2 * time.Second},
		{link.GraceText(1000 * time.Hour), link.MaxGrace},
		{"an hour", 2 * time.Second},
		{"", 2 * time.Second},
		{"99999999999999999999999999", 2 * time.Second},
	} {
		h := &holder{cfg: Config{Grace: 2 * time.Second}}
		h.note(link.Message{Kind: link.Grace, Text: c.text})
		if h.cfg.Grace != c.want {
			t.Errorf("%q: it waits %v, want %v", c.text, h.cfg.Grace, c.want)
		}
	}
}
