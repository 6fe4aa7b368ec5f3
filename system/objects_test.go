package system

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"ward/diag"
)

// TestObjects: what is left out has a default, and shared memory is one instance.
func TestObjects(t *testing.T) {
	data, err := os.ReadFile("testdata/good/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sys, findings := Load(fstest.MapFS{FileName: {Data: data}})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	at := func(line, column int) diag.Pos { return diag.Pos{File: FileName, Line: line, Column: column} }
	memory := func(name string, line, column int, size uint64, count uint32, shared bool) Object {
		return Object{Name: String{name, at(line, 3)}, Kind: String{"memory", at(line, column)}, Size: size, Count: count, Shared: shared}
	}
	want := []Object{
		memory("frames", 4, 19, 4<<20, 8, false),
		memory("scratch", 5, 20, 1<<20, 16, false),
		memory("board", 6, 18, 64<<10, 1, true),
		memory("single", 7, 19, 1<<20, 1, true),
		{Name: String{"orders", at(8, 3)}, Kind: String{"mailbox", at(8, 19)}, Interface: String{"shop.v1.Orders", at(8, 39)}},
		{Name: String{"keys", at(9, 3)}, Kind: String{"memory", at(9, 17)}, Size: 4096, Count: 16, Secret: true},
		{Name: String{"tables", at(10, 3)}, Kind: String{"memory", at(10, 19)}, Size: 16 << 20, Count: 64, Secret: true},
	}
	if d := cmp.Diff(want, sys.Objects); d != "" {
		t.Error(d)
	}
	if o := sys.Object("board"); o == nil || !o.Shared {
		t.Errorf("board: %v", o)
	}
	if o := sys.Object("camera"); o != nil {
		t.Errorf("a domain is found as an object: %v", o)
	}
}
