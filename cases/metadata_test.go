package cases

import (
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"ward/compile"
)

// What an audit tells of metadata becomes cases that pass: values, sizes, and
// that a key which the policies look at was not there.
func TestMetadataFromAudit(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/metadata.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		if f.Name != "want" && !strings.HasSuffix(f.Name, Suffix) {
			files[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	r, findings := compile.Dir(files)
	if r.Image == nil {
		t.Fatal(findings)
	}
	record := func(n int, verdict, policy string, params map[string]any) Happened {
		return happened(n, "call", "chief", "server", "lab.v1.Lab/Run", verdict, policy, params, nil, 0)
	}
	w := FromAudit(r.Image, r.Set, []Happened{
		record(1, "allow", "tenants", map[string]any{"n": 1, "ward.metadata.x-tenant": "lab"}),
		record(2, "deny", "large proofs", map[string]any{"ward.metadata.x-tenant": "lab", "ward.metadata.proof-bin": map[string]any{"size": 12}}),
		record(3, "deny", "", map[string]any{"n": 1}),
		record(4, "deny", "", map[string]any{"n": 1, "ward.metadata.x-tenant": "null"}),
	})
	if w.Cases != 4 || w.Left != 0 {
		t.Errorf("%d cases, %d left out:\n%s", w.Cases, w.Left, w.Text)
	}
	for _, part := range []string{`"x-tenant": "lab"`, `"proof-bin": {"size": 12}`, `"x-tenant": null`, `"x-tenant": "null"`} {
		if !strings.Contains(w.Text, part) {
			t.Errorf("%s is not in\n%s", part, w.Text)
		}
	}
	pass(t, files, w)
}
