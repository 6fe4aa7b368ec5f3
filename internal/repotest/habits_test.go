package repotest

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// unsafe, and what amounts to it, stays in kernel/, in files that say so.
func TestUnsafeStaysInKernel(t *testing.T) {
	sources(t, func(path string, text []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, i := range file.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); name != "unsafe" && name != "C" {
				continue
			}
			inKernel := strings.HasPrefix(path, "kernel"+string(filepath.Separator))
			if !inKernel || !strings.HasSuffix(path, "_unsafe.go") && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s imports %s; only kernel/*_unsafe.go may", path, i.Path.Value)
			}
		}
		if bytes.Contains(text, []byte("//go:"+"linkname")) {
			t.Errorf("%s uses linkname", path)
		}
	})
}

// The words are put together so that this file does not find itself.
var leftOpen = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func TestHabits(t *testing.T) {
	const maxLines = 600
	sleep := []byte("time." + "Sleep(")
	sources(t, func(path string, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines; more than %d are hard to read: split it", path, n, maxLines)
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if leftOpen.Match(line) {
				t.Errorf("%s:%d: left open: %s", path, i+1, bytes.TrimSpace(line))
			}
			if bytes.Contains(line, sleep) && strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s:%d: a test that sleeps; wait for the event instead", path, i+1)
			}
		}
	})
}

// Every room says in its doc.go what it is for and what must hold; the rooms of
// the design are all there.
func TestRoomsHaveDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, p := range list(t, "./...") {
		name := room(p.ImportPath)
		if strings.Contains(name, "/") && name != "gate/grpcgate" || len(p.GoFiles) == 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		if err != nil {
			t.Errorf("room %s: %v", name, err)
			continue
		}
		if !bytes.Contains(text, []byte("// Package ")) && !bytes.Contains(text, []byte("// Command ")) {
			t.Errorf("doc.go of room %s does not begin with what it is", name)
		}
		documented[name] = true
	}
	for _, name := range strings.Fields("abi ring system policy filter image kernel monitor creator objects names audit gate gate/grpcgate") {
		if !documented[name] {
			t.Errorf("there is no documented room %s", name)
		}
	}
}

// tests are the names of all test functions.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	sources(t, func(path string, text []byte) {
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
	})
	return names
}

// namesWhatExists checks the tests and files that a document names, and returns
// the tests. A name that is gone is a lie.
func namesWhatExists(t *testing.T, document string) map[string]bool {
	t.Helper()
	top := root(t)
	text, err := os.ReadFile(filepath.Join(top, document))
	if err != nil {
		t.Fatal(err)
	}
	functions, named := tests(t), map[string]bool{}
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllSubmatch(text, -1) {
		word := string(m[1])
		switch {
		case regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`).MatchString(word):
			named[word] = true
			if !functions[word] {
				t.Errorf("%s names %s, which is no test", document, word)
			}
		case strings.Contains(word, "/") && !strings.ContainsAny(word, " *{<") && !strings.HasPrefix(word, "/"):
			if _, err := os.Stat(filepath.Join(top, strings.TrimSuffix(word, "/"))); err != nil {
				t.Errorf("%s names %s, which does not exist", document, word)
			}
		}
	}
	return named
}

func TestPatternsNameWhatExists(t *testing.T) { namesWhatExists(t, "docs/patterns.md") }

// Every test of an attack is in the table of attacks.
func TestAttacksAreListed(t *testing.T) {
	const document = "docs/attacks.md"
	listed := namesWhatExists(t, document)
	for name := range tests(t) {
		if strings.HasPrefix(name, "TestAttack") && !listed[name] {
			t.Errorf("%s does not name %s", document, name)
		}
	}
}
