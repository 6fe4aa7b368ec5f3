package main

import (
	"strings"
	"testing"
)

func TestJSONLines(t *testing.T) {
	var out strings.Builder
	if err := jsonLines(&out).Encode(map[string]string{"policy": "a & b <c>\n\x1b"}); err != nil {
		t.Fatal(err)
	}
	if want := `{"policy":"a & b <c>\n\u001b"}` + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// What a domain wrote is an object a line, whichever way it comes in pieces, and
// a line without an end does not grow here.
func TestOutputLines(t *testing.T) {
	for _, c := range []struct {
		pieces []string
		want   []string
	}{
		{nil, nil},
		{[]string{"a\nb\n"}, []string{"a", "b"}},
		{[]string{"a", "b\n\nc"}, []string{"ab", "", "c"}},
		{[]string{strings.Repeat("x", maxOutputLine), "y\n"}, []string{strings.Repeat("x", maxOutputLine), "y"}},
		{[]string{strings.Repeat("x", 2*maxOutputLine+1)}, []string{strings.Repeat("x", maxOutputLine), strings.Repeat("x", maxOutputLine), "x"}},
	} {
		var out, want strings.Builder
		lines := &outputLines{to: jsonLines(&out), domain: "d"}
		for _, p := range c.pieces {
			if n, err := lines.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		if err := lines.end(); err != nil {
			t.Fatal(err)
		}
		for _, line := range c.want {
			want.WriteString(`{"event":"output","domain":"d","line":"` + line + `"}` + "\n")
		}
		if out.String() != want.String() {
			t.Errorf("%.99q: %.300s, want %.300s", c.pieces, out.String(), want.String())
		}
	}
}

func TestSudoPath(t *testing.T) {
	t.Setenv("SUDO_UID", "")
	if got := sudoPath(); got != "" {
		t.Errorf("without sudo: %q", got)
	}
	t.Setenv("SUDO_UID", "1000")
	if got := sudoPath(); !strings.Contains(got, "sudo env") {
		t.Errorf("through sudo: %q", got)
	}
}
