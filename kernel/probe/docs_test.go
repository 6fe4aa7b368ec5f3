package probe

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/kernel-support.md anew")

// docs/kernel-support.md holds the table of mechanisms, made from them.
func TestDocs(t *testing.T) {
	const path, head = "../../docs/kernel-support.md", "|---|---|---|---|\n"
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs the repository: compares docs/kernel-support.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), head)
	if !ok {
		t.Fatalf("%s has no table", path)
	}
	// The table ends at the first empty line; what follows is kept.
	_, after, more := strings.Cut(rest, "\n\n")
	var want bytes.Buffer
	want.WriteString(before + head)
	for _, m := range mechanisms {
		without := m.Without
		if m.Needed {
			without = "*needed*"
		}
		fmt.Fprintf(&want, "| %s | %s | %s | %s |\n", m.Name, m.Since, m.Use, without)
	}
	if more {
		want.WriteString("\n" + after)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want.String() != string(text) {
		t.Errorf("%s differs from the mechanisms; run go test ./kernel/probe -run Docs -update", path)
	}
}
