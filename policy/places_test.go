package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/diag"
	"ward/policy"
)

// TestFindingsHavePlaces: whatever is wrong with a policy, each finding names a
// file, a line and a column that are there, counted in characters, and says
// what to write instead.
func TestFindingsHavePlaces(t *testing.T) {
	seen := 0
	check := func(what, yaml, proto, cedar string, l diag.List) {
		lines := map[string][]string{"policy.cedar": strings.Split(cedar, "\n"), "system.yaml": strings.Split(yaml, "\n"), "shop.proto": strings.Split(proto, "\n")}
		for _, f := range l {
			text, ok := lines[f.Pos.File]
			if !ok || f.Pos.Line < 1 || f.Pos.Line > len(text) || f.Pos.Column < 1 || f.Pos.Column > 1+len([]rune(text[f.Pos.Line-1])) {
				t.Errorf("%s: a finding without a place: %v", what, f)
			}
			if f.Fix == "" {
				t.Errorf("%s: does not say what to do: %v", what, f)
			}
			seen++
		}
	}
	for _, of := range []struct{ pattern, yaml, proto string }{
		{"testdata/*.cedar", testSystem, testProto}, {"testdata/state/*.cedar", strings.Replace(stateSystem, "vault.proto", "shop.proto", 1), stateProto}, {"testdata/objects/*.cedar", objectSystem, objectProto},
	} {
		names, err := filepath.Glob(of.pattern)
		if err != nil || len(names) == 0 {
			t.Fatal("no test data", err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sys, set := load(t, of.yaml, of.proto)
			_, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: string(text)}})
			check(name, of.yaml, of.proto, string(text), l)
		}
	}
	for _, r := range refusals {
		sys, set := load(t, languageSystem, languageProto)
		text := "@id(\"p\") permit (principal == Domain::\"chief\", action == lab::v1::Action::\"Lab.Run\", resource)\nwhen { " + r.cond + " };"
		_, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		check(r.what, languageSystem, languageProto, text, l)
	}
	for _, m := range mistakes {
		sys, set := load(t, languageSystem, languageProto)
		text := "@id(\"all\") permit (principal, action in lab::v1::Action::\"Lab\", resource);\n@id(\"rule\") " + m.rules
		_, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
		check(m.what, languageSystem, languageProto, text, l)
	}
	if seen < 150 {
		t.Errorf("only %d findings", seen)
	}
}
