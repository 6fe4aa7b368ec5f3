package models_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"ward/cases"
	"ward/compile"
)

// runCases runs the policy tests of a system, as `ward test` does.
func runCases(t *testing.T, fsys fstest.MapFS) {
	t.Helper()
	r, l := compile.Dir(fsys)
	if r.Image == nil {
		t.Fatal(l)
	}
	s, l := cases.Load(fsys, r.Image, r.Set)
	if l.Failed() {
		t.Fatal(l)
	}
	n := 0
	for _, c := range s.Run(nil).Results {
		for _, f := range c.Failures {
			t.Errorf("%s (%s): %s", c.Name, c.Pos, f)
		}
		n++
	}
	if n == 0 {
		t.Error("no tests")
	}
}

func readDir(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fsys[e.Name()] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// TestCases runs the policy tests of each system in testdata.
func TestCases(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/system.yaml")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no test data", err)
	}
	for _, d := range dirs {
		t.Run(filepath.Base(filepath.Dir(d)), func(t *testing.T) { runCases(t, readDir(t, filepath.Dir(d))) })
	}
}

// TestDocs runs the examples of docs/models.md: each is a system.yaml without
// what all of them share, followed by tests.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/models.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(yaml|cedar|proto)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	shared := fstest.MapFS{}
	var system, policy string
	n := 0
	for _, b := range blocks {
		kind, body := b[1], b[2]
		switch {
		case kind == "proto":
			shared["shop.proto"] = &fstest.MapFile{Data: []byte(body)}
		case kind == "cedar" && system == "":
			shared["policy.cedar"] = &fstest.MapFile{Data: []byte(body)}
		case kind == "cedar":
			policy = body
		case strings.HasPrefix(body, "cases:"):
			n++
			fsys := fstest.MapFS{"system.yaml": {Data: []byte("ward: 1\nname: shop\ninterfaces: [shop.proto]\npolicy: [policy.cedar]\n" + system)},
				"doc_test.yaml": {Data: []byte("ward: 1\n" + body)}}
			for name, f := range shared {
				fsys[name] = f
			}
			if policy != "" {
				fsys["policy.cedar"] = &fstest.MapFile{Data: []byte(policy)}
			}
			t.Run(strings.TrimSpace(strings.SplitN(system, "\n", 2)[0]), func(t *testing.T) { runCases(t, fsys) })
			policy = ""
		default:
			system = body
		}
	}
	if n < 10 {
		t.Errorf("%d examples", n)
	}
}
