package cases

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"
	"golang.org/x/tools/txtar"

	"ward/compile"
)

// TestAttackRecordsAsYAML: records of an audit file that somebody has written,
// with values and names that would be lines of the test file, or end its
// comments, if they were not quoted. The control: the same case with a number
// where a number belongs is written, and passes.
func TestAttackRecordsAsYAML(t *testing.T) {
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
	const evil = "- name: smuggled"
	for _, c := range []struct {
		name   string
		params map[string]any
		cases  int
	}{
		{"control", map[string]any{"ward.metadata.x-tenant": "lab", "ward.metadata.proof-bin": map[string]any{"size": 12}}, 1},
		{"size", map[string]any{"ward.metadata.x-tenant": "lab", "ward.metadata.proof-bin": map[string]any{"size": "12}}}\n" + evil + "\n  start: \"server\"\n  allow: \"x\"\n#"}}, 0},
		{"size, a lone return", map[string]any{"ward.metadata.x-tenant": "lab", "ward.metadata.proof-bin": map[string]any{"size": "12}}}\r" + evil + "\r  start: \"server\"\r  allow: \"x\"\r#"}}, 0},
		{"key", map[string]any{"ward.metadata.x\r" + evil: "lab"}, 0},
		{"name", map[string]any{"n\r" + evil + "\n" + evil: 1}, 0},
		{"text", map[string]any{"ward.metadata.x-tenant": "lab\"\r" + evil + "\n" + evil}, 0},
		{"number", map[string]any{"n": "1\r" + evil + "\n" + evil, "ward.metadata.x-tenant": "lab"}, 0},
		{"cut", map[string]any{"n\r" + evil: "x…", "ward.metadata.x-tenant": "lab"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := FromAudit(r.Image, r.Set, []Happened{
				happened(1, "call", "chief", "server", "lab.v1.Lab/Run", "deny", "large proofs", c.params, nil, 0)})
			for line := range strings.FieldsFuncSeq(w.Text, func(r rune) bool { return r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029' }) {
				if strings.HasPrefix(strings.TrimLeft(line, " "), evil) {
					t.Fatalf("%q is a line of\n%s", line, w.Text)
				}
			}
			if w.Cases != c.cases {
				t.Errorf("%d cases, want %d:\n%s", w.Cases, c.cases, w.Text)
			}
			if w.Cases > 0 {
				pass(t, files, w)
			}
		})
	}
}

// TestAttackRecordsOnTerminal: a text of a message, which the audit has as it was sent,
// changes the terminal that a written case is shown on, or the order in which it
// is read. The control: the case means that very text, and passes.
func TestAttackRecordsOnTerminal(t *testing.T) {
	const sent = "lab\u009b31m\u202e\u200f\x7f\x1b[2J\u00a0é\U0001f600"
	want := sent
	q := quote(sent)
	for _, r := range q {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u200f' {
			t.Errorf("%U is in %q", r, q)
		}
	}
	var got string
	if err := yaml.Unmarshal([]byte(q), &got); err != nil || got != want {
		t.Errorf("%s is read as %q: %v", q, got, err)
	}
}
