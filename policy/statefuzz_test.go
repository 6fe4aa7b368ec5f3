package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/policy"
)

// FuzzState: no text makes the compiler panic in a system with state, and what
// it accepts passes image.Check (Compile runs it).
func FuzzState(f *testing.F) {
	files, err := filepath.Glob("testdata/state/*.cedar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		for part := range strings.SplitSeq(string(text), "@id") {
			f.Add("@id" + part)
		}
	}
	sys, set := load(f, strings.Replace(stateSystem, "vault.proto", "shop.proto", 1), stateProto)
	f.Fuzz(func(t *testing.T, text string) {
		img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		if (img == nil) != l.Failed() || strings.Contains(l.Error(), "does not fit an image") {
			t.Errorf("image %v, findings %v", img != nil, l)
		}
	})
}
