package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/policy"
)

// FuzzObjects: whatever is written about objects and mailboxes, the compiler
// accepts it with an image that passes its check, or says why not.
func FuzzObjects(f *testing.F) {
	files, _ := filepath.Glob("testdata/objects/*.cedar")
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
	sys, set := load(f, objectSystem, objectProto)
	reads := `@id("fuzz: reads") permit (principal == Domain::"office", action == ward::Action::"open.read", resource == Object::"orders");` + "\n"
	f.Fuzz(func(t *testing.T, text string) {
		for _, all := range []string{text, reads + text} {
			img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: all}})
			if (img == nil) != l.Failed() || strings.Contains(l.Error(), "does not fit an image") {
				t.Errorf("image %v, findings %v", img != nil, l)
			}
		}
	})
}
