package cases

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"ward/compile"
)

var update = flag.Bool("update", false, "write the golden files")

// directory reads the sources of a system directory.
func directory(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, pattern := range []string{"*.yaml", "*.proto", "*.cedar"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(name)] = &fstest.MapFile{Data: data}
		}
	}
	return files
}

// judge compiles a directory and runs its tests. It returns what people would
// see: findings, or the failures, one test after the other.
func judge(t *testing.T, files fstest.MapFS) (string, *Report) {
	t.Helper()
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatalf("the system does not compile:\n%v", findings)
	}
	s, findings := Load(files, r.Image, r.Set)
	if findings.Failed() {
		return findings.Error() + "\n", nil
	}
	report := s.Run(nil)
	var b strings.Builder
	for _, c := range report.Results {
		word := "PASS"
		if len(c.Failures) > 0 {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s: %s (%s:%d)\n", word, c.Name, c.Pos.File, c.Pos.Line)
		for _, f := range append(c.Failures, c.Notes...) {
			fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(f, "\n\t", "\n        "))
		}
	}
	return b.String(), report
}

// TestGolden judges testdata/*.txtar, each with the sources of a system and
// what has to come of its tests in the file `want`.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no test data: ", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files, want := directory(t, "testdata/shop"), -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
				} else {
					files[f.Name] = &fstest.MapFile{Data: f.Data}
				}
			}
			got, _ := judge(t, files)
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(archive.Files[want].Data), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// The tests of the picture example pass; with each mutation of its policy some
// test fails, or they would not say much.
func TestMutatedPoliciesFail(t *testing.T) {
	const dir = "../examples/picture"
	if got, report := judge(t, directory(t, dir)); report == nil || strings.Contains(got, "FAIL") {
		t.Fatalf("the example fails as it is:\n%s", got)
	} else if len(report.PoliciesUntested)+len(report.MethodsUntested) > 0 {
		t.Errorf("untested: %q %q", report.PoliciesUntested, report.MethodsUntested)
	}
	for _, m := range []struct{ name, old, new string }{
		{"forbid never matches", `like "draft-*"`, `like "drafts-*"`},
		{"forbid matches more", `like "draft-*"`, `like "s*"`},
		{"forbid of one method", "principal,\n  action in [picture::v1::Action::\"Pictures.Get\", picture::v1::Action::\"Pictures.Watch\"]", "principal,\n  action == picture::v1::Action::\"Pictures.Get\""},
		{"comparison flipped", "context.width <= 1024", "context.width >= 1024"},
		{"off by one above", "context.width <= 1024", "context.width <= 1025"},
		{"off by one below", "context.height <= 1024", "context.height < 1024"},
		{"condition dropped", "context.width <= 1024 && context.height <= 1024", "context.width <= 1024"},
		{"or for and", "context.width <= 1024 && context.height", "context.width <= 1024 || context.height"},
		{"users without a bound", "context.width <= 128 && context.height <= 128", "context.width <= 128"},
		{"users off by one", "context.width <= 128", "context.width < 128"},
		{"any domain may list", `principal == Domain::"valid-client",
  action == picture::v1::Action::"Pictures.List"`, `principal,
  action == picture::v1::Action::"Pictures.List"`},
		{"the other client", `principal == Domain::"valid-client",
  action == picture::v1::Action::"Drafts.Latest"`, `principal == Domain::"invalid-client",
  action == picture::v1::Action::"Drafts.Latest"`},
		{"ping for one", `principal,
  action == picture::v1::Action::"Status.Ping"`, `principal == Domain::"valid-client",
  action == picture::v1::Action::"Status.Ping"`},
	} {
		t.Run(m.name, func(t *testing.T) {
			files := directory(t, dir)
			policy := string(files["policy.cedar"].Data)
			if !strings.Contains(policy, m.old) {
				t.Fatalf("the policy does not contain %q", m.old)
			}
			files["policy.cedar"] = &fstest.MapFile{Data: []byte(strings.Replace(policy, m.old, m.new, 1))}
			if got, report := judge(t, files); report != nil && !strings.Contains(got, "FAIL") {
				t.Errorf("all tests pass:\n%s", got)
			}
		})
	}
}

// Any text is read or refused, with places inside the file.
func FuzzLoad(f *testing.F) {
	data, err := os.ReadFile("../examples/picture/picture_test.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("ward: 1\ncases: [{name: a, from: user:b, call: x, args: {a: {b: [1, null]}}, deny: bounds}]\nalways: [{never: {when: {}}}]\n"))
	files := fstest.MapFS{}
	for _, name := range []string{"system.yaml", "picture.proto", "policy.cedar"} {
		data, err := os.ReadFile("../examples/picture/" + name)
		if err != nil {
			f.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	r, findings := compile.Dir(files)
	if r.Image == nil {
		f.Fatal(findings)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, findings := Load(fstest.MapFS{"a_test.yaml": {Data: data}}, r.Image, r.Set)
		for _, finding := range findings {
			if finding.Pos.File != "a_test.yaml" {
				t.Fatalf("finding without a place: %v", finding)
			}
		}
		if !findings.Failed() {
			s.Run(nil)
		}
	})
}
