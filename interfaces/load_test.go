package interfaces

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/diag"
	"ward/image"
	"ward/system"
)

var update = flag.Bool("update", false, "write the expected findings into the test data")

// files returns the files of an archive, and all .proto files as if
// system.yaml listed them.
func files(a *txtar.Archive) (fstest.MapFS, []system.String) {
	fsys := fstest.MapFS{}
	var list []system.String
	for i, f := range a.Files {
		if strings.HasSuffix(f.Name, ".proto") {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data}
			list = append(list, system.String{Value: f.Name, Pos: diag.Pos{File: system.FileName, Line: 3 + i, Column: 5}})
		}
	}
	return fsys, list
}

// TestBad compares the findings for every testdata/bad/*.txtar with its file "findings".
func TestBad(t *testing.T) {
	archives, _ := filepath.Glob("testdata/bad/*.txtar")
	if len(archives) == 0 {
		t.Fatal("no test data")
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fsys, list := files(a)
			set, l := Load(fsys, list)
			if set == nil || !l.Failed() {
				t.Fatal("accepted")
			}
			for _, f := range l {
				text, ok := fsys[f.Pos.File]
				if f.Pos.File == system.FileName {
					continue
				}
				if !ok || f.Pos.Line < 1 || f.Pos.Line > 1+strings.Count(string(text.Data), "\n") || f.Pos.Column < 1 {
					t.Errorf("finding outside the files: %v", f)
				}
			}
			got := l.Error() + "\n"
			want := ""
			for i, f := range a.Files {
				if f.Name == "findings" {
					want = string(f.Data)
					if *update {
						a.Files[i].Data = []byte(got)
					}
				}
			}
			if *update {
				if want == "" {
					a.Files = append(a.Files, txtar.File{Name: "findings", Data: []byte(got)})
				}
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				want = got
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// one loads a single file.
func one(t *testing.T, text string) (*Set, diag.List) {
	t.Helper()
	return Load(fstest.MapFS{"a.proto": {Data: []byte(text)}}, []system.String{{Value: "a.proto"}})
}

// TestNames: every set has the name server's interface, and its bounds are
// those that the kernel can enforce.
func TestNames(t *testing.T) {
	set, l := Load(fstest.MapFS{}, nil)
	if len(l) > 0 || len(set.Unenforced) > 0 || len(set.Interfaces) != 1 {
		t.Fatalf("%v %v", l, set.Unenforced)
	}
	class := func(chars string) (c [2]uint64) {
		for _, b := range []byte(chars) {
			c[b>>6] |= 1 << (b & 63)
		}
		return c
	}
	const lower, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
	name := image.Field{Number: 1, Name: "interface", Type: image.String, Required: true, MinLen: 1, MaxLen: 255, Class: class(lower + strings.ToUpper(lower) + digits + "._")}
	number := func(n uint32, name string) image.Field {
		return image.Field{Number: n, Name: name, Type: image.Uint64, Card: image.Optional, HasRange: true, Max: 1<<63 - 1, Default: true}
	}
	want := []image.Message{
		{Name: "ward.v1.PublishRequest", Fields: []image.Field{name}},
		{Name: "ward.v1.PublishResponse"},
		{Name: "ward.v1.WithdrawRequest", Fields: []image.Field{name}},
		{Name: "ward.v1.WithdrawResponse"},
		{Name: "ward.v1.LookupRequest", Fields: []image.Field{name, {Number: 2, Name: "wait", Type: image.Bool, HasRange: true, Max: 1}, number(3, "after")}},
		{Name: "ward.v1.LookupResponse", Fields: []image.Field{{Number: 1, Name: "servers", Type: image.String, Card: image.Repeated, Required: true,
			MinLen: 1, MaxLen: 63, MinItems: 1, MaxItems: 64, Class: class(lower + digits + "-")}, number(2, "published")}},
	}
	if d := cmp.Diff(want, set.Messages); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(image.Interface{Name: system.NamesInterface, Methods: []image.Method{
		{Name: "Publish", Request: 0, Reply: 1}, {Name: "Withdraw", Request: 2, Reply: 3}, {Name: "Lookup", Request: 4, Reply: 5},
	}}, set.Interfaces[0]); d != "" {
		t.Error(d)
	}
}

// TestSet checks what the bounds tests do not: ordinals, streams, places,
// oneofs, defaults, and that the image accepts the result.
func TestSet(t *testing.T) {
	set, l := one(t, `syntax = "proto3";
package p.v1;
import "buf/validate/validate.proto";
import "google/protobuf/timestamp.proto";
service S {
  rpc Zebra(stream In) returns (Out);
	rpc Apple(In) returns (stream Out);
}
message In {
  sint64 late = 9;
  string text = 1;
  oneof pick {
    option (buf.validate.oneof).required = true;
    int32 number = 3;
    bytes data = 4;
  }
  optional bool maybe = 5;
  repeated fixed32 many = 6;
  Color color = 7;
  google.protobuf.Timestamp when = 8;
  uint64 big = 10;
  double real = 11;
}
enum Color { option allow_alias = true; RED = 0; ROT = 0; BLUE = 7; MINUS = -2; }
message Out {}
`)
	if len(l) > 0 {
		t.Fatal(l)
	}
	want := image.Interface{Name: "p.v1.S", Methods: []image.Method{
		{Name: "Zebra", ClientStream: true, Request: 0, Reply: 2}, {Name: "Apple", ServerStream: true, Request: 0, Reply: 2}}}
	if d := cmp.Diff(want, set.Interfaces[0]); d != "" {
		t.Error(d)
	}
	minus := func(n int64) uint64 { return uint64(n) }
	in := image.Message{Name: "p.v1.In", Fields: []image.Field{
		{Number: 1, Name: "text", Type: image.String, MaxLen: 4096, Default: true},
		{Number: 3, Name: "number", Type: image.Int32, Card: image.Optional, Oneof: 1, HasRange: true, Min: minus(-1 << 31), Max: 1<<31 - 1, Default: true},
		{Number: 4, Name: "data", Type: image.Bytes, Card: image.Optional, Oneof: 1, MaxLen: 4096, Default: true},
		{Number: 5, Name: "maybe", Type: image.Bool, Card: image.Optional, HasRange: true, Max: 1},
		{Number: 6, Name: "many", Type: image.Fixed32, Card: image.Repeated, HasRange: true, Max: 1<<32 - 1, MaxItems: 256, Default: true},
		{Number: 7, Name: "color", Type: image.Enum, Values: []int64{-2, 0, 7}},
		{Number: 8, Name: "when", Type: image.Nested, Card: image.Optional, Message: 1, MaxLen: 22},
		{Number: 9, Name: "late", Type: image.Sint64, HasRange: true, Min: 1 << 63, Max: 1<<63 - 1, Default: true},
		{Number: 10, Name: "big", Type: image.Uint64, HasRange: true, Max: 1<<63 - 1, Default: true},
		{Number: 11, Name: "real", Type: image.Double},
	}, Required: []image.Oneof{{Name: "pick", Fields: []uint32{1, 2}}}}
	if d := cmp.Diff(in, set.Messages[0]); d != "" {
		t.Error(d)
	}
	for name, pos := range map[string]diag.Pos{
		"p.v1.S": {File: "a.proto", Line: 5, Column: 1}, "p.v1.S.Apple": {File: "a.proto", Line: 7, Column: 2},
		"p.v1.In": {File: "a.proto", Line: 9, Column: 1}, "p.v1.In.data": {File: "a.proto", Line: 15, Column: 5},
	} {
		if got := set.Pos[fullName(name)]; got != pos {
			t.Errorf("%s is at %v, want %v", name, got, pos)
		}
	}
	if err := checkImage(set); err != nil {
		t.Error(err)
	}
}

type info struct {
	fs.FileInfo
	size int64
}

func (i info) Size() int64     { return i.size }
func (info) Mode() fs.FileMode { return 0o644 }

type large struct{ t *testing.T }

func (l large) Open(string) (fs.File, error) {
	l.t.Error("the file was opened")
	return nil, fs.ErrPermission
}
func (large) Stat(string) (fs.FileInfo, error) { return info{size: 100 << 20}, nil }

// TestUnreadable: files that are missing, too large or no text are reported
// at the place that names them; the large one is not read.
func TestUnreadable(t *testing.T) {
	at := diag.Pos{File: system.FileName, Line: 3, Column: 14}
	for _, c := range []struct {
		fsys fs.FS
		want string
	}{
		{large{t}, "system.yaml:3:14: error: \"a.proto\" has 104857600 bytes; the limit is 4194304\n\tsplit it into several files"},
		{fstest.MapFS{}, `system.yaml:3:14: error: file "a.proto" does not exist`},
		{fstest.MapFS{"a.proto": {Data: []byte("syntax = \"proto3\";\n// \xff")}}, "a.proto:2:4: error: byte 0xff is not part of UTF-8 text\n\tsave the file as UTF-8"},
		{fstest.MapFS{"a.proto": {Data: []byte(strings.Repeat("a", 5000))}}, "a.proto:1:1: error: the line has 5000 bytes; the limit is 4096\n\tbreak the line"},
	} {
		if _, l := Load(c.fsys, []system.String{{Value: "a.proto", Pos: at}}); l.Error() != c.want {
			t.Errorf("got  %v\nwant %v", l, c.want)
		}
	}
}

// TestHostile: large and deep text is refused, or read, in bounded time.
func TestHostile(t *testing.T) {
	const head = "syntax = \"proto3\";\npackage p.v1;\n"
	for name, text := range map[string]string{
		"deep":     head + strings.Repeat("message A {\n", 100_000),
		"hidden":   head + strings.Repeat("\"\nmessage A {\n", 100_000),
		"many":     head + strings.Repeat("message A {}\n", 20_000),
		"chain":    head + "service S { rpc R(M0) returns (M0); }\n" + chain(20_000),
		"unknown":  head + "message A {\n" + unknown(20_000) + "}\n" + strings.Repeat("message B"+strings.Repeat("b", 100)+" {}\n", 2000),
		"comments": head + strings.Repeat("// {\n", 100_000),
		"options":  head + "option (x) = " + strings.Repeat("{a: ", 10_000),
		"dots":     head + "message A { " + strings.Repeat("a.\n", 50_000) + " x = 1; }",
		"minus":    head + "option a = " + strings.Repeat("-\n", 50_000),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, l := one(t, text)
			// A second or less on an idle machine; what is quadratic takes minutes.
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
			if len(l) > maxFindings+1 {
				t.Errorf("%d findings", len(l))
			}
		})
	}
}

// TestLargeSets: sets that a filter could not compare with are refused here,
// where there is a place to show, not when the system starts.
func TestLargeSets(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+",\n", i)
		}
		return strings.TrimSuffix(b.String(), ",\n")
	}
	for rule, want := range map[string]string{
		"string a = 1 [(buf.validate.field).string = {in: [" + list(1025, "'x%d'") + "]}]":   "compare it with 1025 values, 4015 bytes in all; the limits are 1024 and 16384",
		"string a = 1 [(buf.validate.field).string = {in: [" + list(200, "'%0100d'") + "]}]": "compare it with 200 values, 20000 bytes in all",
		"int32 a = 1 [(buf.validate.field).int32 = {in: [" + list(5000, "%d") + "]}]":        "compare it with 5000 values; the limit is 4096",
		"string a = 1 [(buf.validate.field).string = {in: [" + list(1024, "'x%d'") + "]}]":   "",
		"int32 a = 1 [(buf.validate.field).int32 = {in: [" + list(4096, "%d") + "]}]":        "",
	} {
		_, l := one(t, boundsHead+"service S { rpc R(M) returns (M); }\nmessage M { "+rule+"; }\n")
		if want == "" && l.Failed() || want != "" && !strings.Contains(l.Error(), want) {
			t.Errorf("%.60s: got %q, want %q", rule, l.Error(), want)
		}
	}
}

func unknown(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  X%s%d f%d = %d;\n", strings.Repeat("x", 100), i, i, i+20_000)
	}
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "message M%d { M%d m = 1; }\n", i, i+1)
	}
	fmt.Fprintf(&b, "message M%d {}\n", n)
	return b.String()
}

func fullName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

// checkImage asks the image whether it accepts the set.
func checkImage(set *Set) error {
	return (&image.Image{Name: "x", Interfaces: set.Interfaces, Messages: set.Messages}).Check()
}
