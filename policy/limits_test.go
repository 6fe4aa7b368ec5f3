package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/policy"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// TestHostileText gives the compiler text that is too large, too deep or not text.
func TestHostileText(t *testing.T) {
	scope := `@id("x") permit (principal, action == shop::v1::Action::"Shop.Buy", resource) when { `
	for _, c := range []struct{ name, text, want string }{
		{"not UTF-8", "@id(\"a\")\npermit (\xff", "policy.cedar:2:9: error: byte 0xff is not UTF-8 text"},
		{"a NUL", "permit\x00", "policy.cedar:1:7: error: byte 0x00 is not UTF-8 text"},
		{"large", strings.Repeat(" ", system.MaxFile+1), "file of 4194305 bytes"},
		{"deep", scope + strings.Repeat("(", 100_000) + "true" + strings.Repeat(")", 100_000) + " };", "nested more than 64 levels"},
		{"deep !", scope + strings.Repeat("!", 100_000) + "true };", "nested more than 64 levels"},
		{"deep if", scope + strings.Repeat("if true then ", 100_000) + "true };", "nested more than 64 levels"},
		{"long chain", scope + strings.Repeat("true && ", 100_000) + "true };", "more than 8192 terms"},
		{"many parameters", scope + strings.Repeat("context.count == 1 || ", 2047) + "context.wrap };", "split the policy"},
		{"doubling", scope + strings.Repeat("(context.count > 1) == (", 60) + "context.wrap" + strings.Repeat(")", 60) + " };", "unfolds to more than"},
		{"comment without end", "/* ", "a comment without its end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, l := compileText(t, c.text)
			if !strings.Contains(l.Error(), c.want) {
				t.Errorf("want %q, got\n%.400v", c.want, l)
			}
		})
	}
}

// TestIDsAcrossFiles: an @id is unique in the whole system.
func TestIDsAcrossFiles(t *testing.T) {
	l := policy.Syntax([]policy.Source{{Name: "a.cedar", Text: `@id("x") permit (principal, action, resource);`},
		{Name: "b.cedar", Text: `@id("x") permit (principal, action, resource);`}})
	if want := `b.cedar:1:5: error: @id "x" stands twice, first at a.cedar:1:5`; !strings.Contains(l.Error(), want) {
		t.Errorf("want %q, got %v", want, l)
	}
}

// FuzzCompile: no text makes the compiler panic, what it accepts passes
// image.Check (Compile runs it), and what Ward's reader accepts cedar-go reads the same.
func FuzzCompile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.cedar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		for line := range strings.SplitSeq(string(text), "\n@") {
			f.Add("@" + strings.TrimPrefix(line, "@"))
		}
	}
	sys, set := load(f, testSystem, testProto)
	f.Fuzz(func(t *testing.T, text string) {
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		if (img == nil) != l.Failed() || strings.Contains(l.Error(), "does not fit an image") {
			t.Errorf("image %v, findings %v", img != nil, l)
		}
		if p := syntax.ParseOne(text); p != nil {
			if _, err := cedar.Read(p); err != nil {
				t.Errorf("read in two ways: %v", err)
			}
		}
	})
}
