package diag

import (
	"slices"
	"testing"
)

func TestSuggest(t *testing.T) {
	known := []string{"domains", "policy", "interfaces", "picture.v1.PictureManager", "valid-client"}
	for _, c := range []struct{ written, want string }{
		{"domain", `did you mean "domains"?`},
		{"polciy", `did you mean "policy"?`},
		{"Interfaces", `did you mean "interfaces"?`},
		{"valid-cleint", `did you mean "valid-client"?`},
		{"picture.v2.PictureManager", `did you mean "picture.v1.PictureManager"?`},
		{"PictureManager", `did you mean "picture.v1.PictureManager"?`},
		{"quota", ""},
		{"x", ""},
		{"", ""},
	} {
		if got := Suggest(c.written, known); got != c.want {
			t.Errorf("Suggest(%q) = %q, want %q", c.written, got, c.want)
		}
	}
}

func TestSort(t *testing.T) {
	at := func(line, column int) Pos { return Pos{"f", line, column} }
	var l List
	l.Notef(at(2, 1), "", "c")
	l.Errorf(at(1, 9), "do x", "b")
	l.Errorf(at(1, 2), "", "a")
	l.Errorf(at(1, 9), "do x", "b")
	l.Sort()
	want := "f:1:2: error: a\nf:1:9: error: b\n\tdo x\nf:2:1: note: c"
	if l.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", l.Error(), want)
	}
	if !l.Failed() || slices.Clone(l)[2:].Failed() {
		t.Error("Failed must tell errors from notes")
	}
}
