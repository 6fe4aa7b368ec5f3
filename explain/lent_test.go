package explain_test

import (
	"strings"
	"testing"

	"ward/cases"
	"ward/explain"
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
