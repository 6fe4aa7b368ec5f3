package yamltext_test

import (
	"strings"
	"testing"

	"ward/diag"
	"ward/internal/yamltext"
)

// TestFixes: what is no YAML comes with what to do, in the words of the parser that is
// used: another version of it may have others.
func TestFixes(t *testing.T) {
	for text, want := range map[string]string{
		"a:\n\tb: 1\n":            "indent with spaces",
		"a:\n  b: 1\n  c:.2\n":    "put a space after the colon",
		"a: {b: 1\n":              "close each { with a }",
		"a: [b, 1\n":              "close each [ with a ]",
		"a: \"b\n":                "close the quotes",
		"a:\n    b: 1\n   c: 2\n": "indent each key as its neighbours are",
	} {
		var found diag.List
		if root := yamltext.Parse(yamltext.NewSource("x.yaml", []byte(text)), []byte(text), "a test", "a: 1", &found); root != nil || len(found) != 1 {
			t.Errorf("%q: %v", text, found)
			continue
		}
		if !strings.HasPrefix(found[0].Message, "not YAML: ") || !strings.Contains(found[0].Fix, want) {
			t.Errorf("%q: %s: %q, want %q", text, found[0].Message, found[0].Fix, want)
		}
	}
}
