package audit

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Events has every constant Event…, and docs/audit.md names all of them and each key.
func TestEventsAreAll(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Event") {
				return true
			}
			if l, ok := v.Values[0].(*ast.BasicLit); ok {
				event, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, event)
			}
			return true
		})
	}
	slices.Sort(found)
	page, err := os.ReadFile("../docs/audit.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs the repository: reads docs/audit.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range found {
		if !strings.Contains(string(page), "`"+event+"`") {
			t.Errorf("docs/audit.md does not name the event %s", event)
		}
	}
	record := reflect.TypeFor[Record]()
	for i := range record.NumField() {
		if key, _, _ := strings.Cut(record.Field(i).Tag.Get("json"), ","); !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("docs/audit.md does not name the key %s", key)
		}
	}
	if known := slices.Sorted(slices.Values(Events)); len(found) == 0 || !slices.Equal(found, known) {
		t.Errorf("constants %q, Events %q", found, known)
	}
}
