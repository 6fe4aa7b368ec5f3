package compile_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"ward/compile"
	"ward/image"
)

// TestPicture compiles the picture example, which the README starts with.
func TestPicture(t *testing.T) {
	r, l := compile.Dir(os.DirFS("../examples/picture"))
	if l.Failed() {
		t.Fatal(l)
	}
	t.Log(l)
	if len(r.Image.Routes) == 0 || !strings.Contains(r.Schema, `action "Pictures.Get"`) {
		t.Errorf("%d routes, schema:\n%s", len(r.Image.Routes), r.Schema)
	}
	again, _ := compile.Dir(os.DirFS("../examples/picture"))
	if a, b := image.Hash(image.Encode(r.Image)), image.Hash(image.Encode(again.Image)); a != b {
		t.Errorf("two runs give two images: %s and %s", a, b)
	}
	if _, err := image.Decode(image.Encode(r.Image)); err != nil {
		t.Error(err)
	}
}

// TestSeveralFindings reads a directory with an error in each file: one run
// shows them all.
func TestSeveralFindings(t *testing.T) {
	r, l := compile.Dir(fstest.MapFS{
		"system.yaml":  {Data: []byte("ward: 1\nname: x\nnmae: y\ninterfaces: [a.proto]\npolicy: [a.cedar, b.cedar, no.cedar]\ndomains:\n  a: {program: /bin/a}\n")},
		"a.proto":      {Data: []byte("syntax = \"proto3\";\npackage a.v1;\nmessage M { strin s = 1; }\n")},
		"a.cedar":      {Data: []byte("permit (principal, action, resource);\n")},
		"b.cedar":      {Data: []byte("\xff")},
		"large.cedar":  {Data: nil},
		"unused.proto": {Data: nil},
	})
	if r.Image != nil {
		t.Error("an image in spite of errors")
	}
	for _, want := range []string{"system.yaml:3:1", "a.proto:3:", "a.cedar:1:1", "b.cedar", "no.cedar"} {
		if !strings.Contains(l.Error(), want) {
			t.Errorf("no finding at %s in:\n%v", want, l)
		}
	}
}
