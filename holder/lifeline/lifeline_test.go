package lifeline

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestReports(t *testing.T) {
	var b bytes.Buffer
	want := []Report{{Ready, 0, ""}, {Fatal, 1, "no such program"}, {Stopped, 1, ""}}
	for _, r := range want {
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	Write(&b, Report{Fatal, 0, strings.Repeat("x", 2*maxReport)})
	for _, w := range want {
		if got, err := Read(&b); err != nil || got != w {
			t.Errorf("%+v, %v; want %+v", got, err, w)
		}
	}
	if got, err := Read(&b); err != nil || len(got.Text) != maxReport {
		t.Errorf("a long text: %d bytes, %v", len(got.Text), err)
	}
	if _, err := Read(&b); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range []string{"\x09\x00\x00\x00", "\x01\x00\xff\xff", "\x01\x00\x05\x00ab", "\x01"} {
		if _, err := Read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
