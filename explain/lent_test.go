package explain_test

import (
	"os"
	"strings"
	"testing"

	"ward/cases"
	"ward/compile"
	"ward/explain"
	"ward/policy"
)

// Who may not call a method, but may be lent it, is told by whom.
func TestLent(t *testing.T) {
	s := system(t, "spawn")
	for _, c := range []struct {
		from, method string
		lent         bool
	}{{"clerk", "Write", true}, {"clerk", "Read", false}, {"desk", "Write", false}, {"store", "Write", false}} {
		all, err := s.Question(cases.Question{From: c.from, Method: "docs.v1.Documents/" + c.method, To: "store", Args: `{name: charter}`})
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		notes := strings.Join(all[0].Notes, "; ")
		if strings.Contains(notes, `desk may lend it, by "the desk lends its pen" (policy.cedar:`) != c.lent || all[0].Verdict == explain.Allow && c.lent {
			t.Errorf("%s %s: %s, %q", c.from, c.method, all[0].Verdict, notes)
		}
	}
}

// What is implied is no policy that came close: nobody writes it.
func TestImpliedIsNotClose(t *testing.T) {
	r, findings := compile.Dir(os.DirFS("../cases/testdata/shop"))
	if findings.Failed() {
		t.Fatal(findings)
	}
	s := &explain.System{Image: r.Image, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	all, err := s.Question(cases.Question{From: "user:bob", Method: "shop.v1.Store/Look", Groups: []string{}})
	if err != nil || len(all) != 1 || all[0].Verdict != explain.Deny || len(all[0].Close) == 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, n := range all[0].Close {
		if strings.HasPrefix(n.Policy.ID, "implied: ") {
			t.Errorf("close: %+v", n)
		}
	}
}
