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
