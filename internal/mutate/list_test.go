package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestFits: what each mutation changes stands in its file, once, and there are
// tests that must catch it. So a change of the code does not leave one behind.
func TestFits(t *testing.T) {
	seen := map[string]bool{}
	for i := range mutations {
		m := &mutations[i]
		if seen[m.what] {
			t.Errorf("%q stands twice", m.what)
		}
		seen[m.what] = true
		text, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte(m.old)); n != 1 {
			t.Errorf("%s: what %q changes stands there %d times, not once", m.file, m.what, n)
		}
		if _, err := suiteOf(m); err != nil {
			t.Errorf("%s: %v", m.what, err)
		}
	}
}
