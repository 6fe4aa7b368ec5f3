package system

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

	"ward/diag"
	"ward/internal/yamltext"
)

var update = flag.Bool("update", false, "write the golden files and the generated documents")

// TestBad reads every testdata/bad/*.yaml and compares the findings with the
// .golden file beside it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data: ", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sys, findings := Load(fstest.MapFS{FileName: {Data: data}})
			if sys == nil || !findings.Failed() {
				t.Fatal("accepted")
			}
			inside(t, data, findings)
			golden := strings.TrimSuffix(f, ".yaml") + ".golden"
			got := findings.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// inside checks that every finding has a place in the file.
func inside(t *testing.T, data []byte, findings diag.List) {
	t.Helper()
	src := yamltext.NewSource(FileName, data)
	for _, f := range findings {
		p := f.Pos
		if p.File != FileName || p.Line < 1 || p.Line > len(src.Lines) || p.Column < 1 || p.Column > src.Lines[p.Line-1]+1 {
			t.Errorf("finding outside the file: %v", f)
		}
	}
}

// TestGood reads every testdata/good/*.yaml without findings.
func TestGood(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) == 0 {
		t.Fatal("no test data")
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, findings := Load(fstest.MapFS{FileName: {Data: data}}); len(findings) > 0 {
			t.Errorf("%s:\n%v", f, findings)
		}
	}
}

// TestModel checks each part of the model for one file that uses them all.
func TestModel(t *testing.T) {
	data, err := os.ReadFile("testdata/good/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sys, findings := Load(fstest.MapFS{FileName: {Data: data}})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	at := func(line, column int) diag.Pos { return diag.Pos{File: FileName, Line: line, Column: column} }
	if sys.Name != (String{"certd", at(2, 7)}) {
		t.Errorf("name %v", sys.Name)
	}
	if !sys.AuditAllow {
		t.Error("audit")
	}
	wantMeta := []Metadata{{String{Value: "traceparent"}, 55}, {String{"tracestate", at(9, 3)}, 256}, {String{"x-request-id", at(10, 3)}, 64}}
	if d := cmp.Diff(wantMeta, sys.Metadata); d != "" {
		t.Error("metadata", d)
	}
	wantRings := []Ring{{String{"core", at(6, 9)}, 0}, {String{"service", at(6, 15)}, 1}, {String{"user", at(6, 24)}, 2}}
	if d := cmp.Diff(wantRings, sys.Rings); d != "" {
		t.Error("rings", d)
	}
	d := sys.Domain("certd")
	if d == nil {
		t.Fatal("no certd")
	}
	want := &Domain{
		Name: String{"certd", at(12, 3)}, Pos: at(12, 3),
		Program: String{"/usr/lib/certd/certd", at(13, 14)},
		Digest:  String{"sha256:" + strings.Repeat("0", 64), at(14, 13)},
		Args:    []String{{"--config=/etc/certd.yaml", at(15, 12)}},
		Env:     []String{{"TZ=UTC", at(16, 12)}},
		Root:    String{"host", at(17, 11)},
		Ring:    String{"user", at(12, 3)},
		Files:   []File{{String{"/etc/certd.yaml", at(18, 14)}, String{"r", at(18, 31)}, String{}, String{}}, {String{"/var/lib/certd", at(18, 34)}, String{"rw", at(18, 50)}, String{}, String{}}},
		Listen:  []Listen{{String{"grpc", at(19, 15)}, String{"tcp:0.0.0.0:8443", at(19, 21)}, String{}}},
		Connect: []String{{"tcp:*:443", at(20, 15)}, {"udp:[::1]:53", at(20, 28)}},
		Needs:   []String{{"keystore", at(21, 13)}},
		Tmp:     64 << 20, Once: true, Restart: String{"never", at(24, 14)}, Inherit: String{"none", at(25, 14)},
		Quota: Quota{Processes: 32, Memory: 1 << 30, CPUWeight: 50, Files: 256, Gates: 8, Disk: 1 << 30},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	k := sys.Domain("keystore")
	wantExports := []Export{
		{Interface: String{"keys.v1.KeyStore", at(30, 9)}, Pos: at(30, 9)},
		{Interface: String{"keys.v1.Admin", at(31, 22)}, Socket: String{"/run/certd/admin.sock", at(31, 45)}, Pos: at(31, 22)},
	}
	if diff := cmp.Diff(wantExports, k.Exports); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]File{{String{"/etc/nginx/tls", at(33, 7)}, String{"rw", at(33, 31)}, String{"root", at(33, 39)}, String{}}}, k.Files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]String{{"A=1", at(35, 9)}}, k.Env); diff != "" {
		t.Error(diff)
	}
	ns := sys.NameServer
	if ns == nil || !ns.Implicit || !ns.Names || ns.Ring.Value != "service" || sys.Domains[len(sys.Domains)-1] != ns || ns.Exports[0].Interface.Value != NamesInterface {
		t.Errorf("name server %+v", ns)
	}
}

func load(text string) (*System, diag.List) {
	return Load(fstest.MapFS{FileName: {Data: []byte(text)}})
}

func TestNameServer(t *testing.T) {
	sys, l := load("ward: 1\nname: x\ndomains: {a: {program: /a}}\n")
	if len(l) > 0 || sys.NameServer != nil {
		t.Errorf("nobody exports, so there is no name server: %v %v", sys.NameServer, l)
	}
	if r := sys.Domains[0].Ring; r.Value != "user" || r.Pos.Line != 3 {
		t.Errorf("default ring %v", r)
	}
	sys, l = load("ward: 1\nname: x\ndomains: {a: {program: /a, exports: [p.S]}, names: {quota: {memory: 64MiB}}}\n")
	if len(l) > 0 || sys.NameServer == nil || sys.NameServer.Implicit || sys.NameServer != sys.Domains[1] || len(sys.NameServer.Exports) != 1 {
		t.Errorf("a declared name server is used: %+v %v", sys.NameServer, l)
	}
}

// refusing is a file system whose one file must not be read.
type refusing struct {
	t    *testing.T
	size int64
}

func (r refusing) Open(string) (fs.File, error) {
	r.t.Error("the file was opened")
	return nil, fs.ErrPermission
}

func (r refusing) Stat(string) (fs.FileInfo, error) { return info(r.size), nil }

type info int64

func (i info) Name() string     { return FileName }
func (i info) Size() int64      { return int64(i) }
func (info) Mode() fs.FileMode  { return 0o644 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }

// TestLarge: a 100 MB file is refused without being read.
func TestLarge(t *testing.T) {
	_, l := Load(refusing{t, 100 << 20})
	if got := l.Error(); got != `system.yaml: error: "system.yaml" has 104857600 bytes; the limit is 4194304`+"\n\tsplit it into several files" {
		t.Error(got)
	}
}

func TestUnreadable(t *testing.T) {
	if _, l := Load(fstest.MapFS{}); l.Error() != `system.yaml: error: file "system.yaml" does not exist` {
		t.Error(l)
	}
	if _, l := Load(fstest.MapFS{"system.yaml/x": {}}); l.Error() != `system.yaml: error: "system.yaml" is not a regular file` {
		t.Error(l)
	}
	_, l := load("ward: 1\nname: \xff\n")
	if l.Error() != "system.yaml:2:7: error: byte 0xff is not part of UTF-8 text\n\tsave the file as UTF-8" {
		t.Error(l)
	}
}

// TestHostile: what would make a parser work or recurse without bound is
// refused, and soon.
func TestHostile(t *testing.T) {
	const n = MaxFile / 16
	for name, text := range map[string]string{
		"brackets": "a: " + strings.Repeat("[", n),
		"braces":   "a: " + strings.Repeat("{a: ", n),
		"dashes":   strings.Repeat("- ", n),
		"keys":     strings.Repeat("? ", n),
		"colons":   strings.Repeat("a: ", n),
		"tags":     strings.Repeat("!a ", n),
		"anchors":  strings.Repeat("&a ", n),
		"quotes":   strings.Repeat(`"`, n),
		"lines":    strings.Repeat("\n", n),
		"entries":  strings.Repeat("a: b\n", n),
		"spaces":   "a:\n" + strings.Repeat(" ", n) + "b",
		"bomb":     "a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
		"indented": indented(600),
		"comment":  strings.Repeat("#", n),
		"needs":    "ward: 1\nname: x\ndomains:\n" + needs(60, 1000),
		"literal":  "a: |\n" + strings.Repeat(" x\n", n),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, l := load(text)
			if !l.Failed() {
				t.Error("accepted")
			}
			inside(t, []byte(text), l)
			// A second or less on an idle machine; what is quadratic takes minutes.
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
			t.Logf("%v: %.200v", time.Since(start), l[0])
		})
	}
}

func needs(domains, each int) string {
	var b strings.Builder
	for i := range domains {
		fmt.Fprintf(&b, "  d%060d: {program: /x, needs: [", i)
		for j := range each {
			fmt.Fprintf(&b, "e%060d,", j)
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestDocuments keeps docs/ in step with the table of keys.
func TestDocuments(t *testing.T) {
	const schema, page, mark = "../docs/system.schema.json", "../docs/system.md", "<!-- keys: made by `go test ./system -update` -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no mark", page)
	}
	for name, want := range map[string]string{schema: string(Schema()), page: head + mark + "\n" + Reference()} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("%s is out of step; run go test ./system -update\n%s", name, d)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, _ := filepath.Glob("testdata/" + dir + "/*.yaml")
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sys, l := Load(fstest.MapFS{FileName: {Data: data}})
		if sys == nil {
			t.Fatal("no system")
		}
		if len(data) <= MaxFile {
			inside(t, data, l)
		}
		if l.Failed() {
			return
		}
		// What is accepted keeps the promises of the model.
		for _, d := range sys.Domains {
			if !d.Names && (d.Build.Value == "") == (d.Program.Value == "") {
				t.Errorf("domain %q has not one program", d.Name.Value)
			}
			if _, ok := sys.Ring(d.Ring.Value); !ok {
				t.Errorf("domain %q is in no ring", d.Name.Value)
			}
			for _, x := range d.Files {
				if !strings.HasPrefix(x.Path.Value, "/") || strings.Contains(x.Path.Value+"/", "/../") {
					t.Errorf("path %q", x.Path.Value)
				}
			}
		}
	})
}
