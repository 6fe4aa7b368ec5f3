package repotest

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestHolderIsSmall: whatever the holder does wrong ends the system, so there is
// little of it. All lines of package holder count, comments too, but tests; what
// it is made of (holder/child, holder/keep) and what prepares it (cmd/wardd/hold.go)
// has a bound of its own, of lines that are code.
func TestHolderIsSmall(t *testing.T) {
	const maxLines, maxCode = 400, 650
	lines, code := 0, 0
	sources(t, func(path string, text []byte) {
		dir := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		if dir == "holder" {
			lines += bytes.Count(text, []byte("\n"))
		}
		if dir == "holder" || dir == "holder/child" || dir == "holder/keep" || filepath.ToSlash(path) == "cmd/wardd/hold.go" {
			for line := range bytes.Lines(text) {
				if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
					code++
				}
			}
		}
	})
	if lines == 0 || lines >= maxLines {
		t.Errorf("package holder has %d lines; it is to have fewer than %d", lines, maxLines)
	}
	if code >= maxCode {
		t.Errorf("the holder, with what it is made of, has %d lines of code; it is to have fewer than %d", code, maxCode)
	}
	t.Logf("package holder has %d lines; with what it is made of, %d lines of code", lines, code)
}
