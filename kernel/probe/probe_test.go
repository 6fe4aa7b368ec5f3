package probe

import (
	"os"
	"testing"
)

// Linux 6.1 has all that is needed; a test machine with less is no place to
// test Ward.
func TestFloor(t *testing.T) {
	results := All()
	if len(results) != len(mechanisms) {
		t.Fatalf("%d results for %d mechanisms", len(results), len(mechanisms))
	}
	for _, r := range results {
		t.Logf("%-26s %-10s %s", r.Name, r.Answer, r.Detail)
		if r.Needed && r.Answer == No {
			t.Errorf("%s: no; Linux has it since %s", r.Name, r.Since)
		}
		if os.Geteuid() == 0 && r.Answer == Unknown {
			t.Errorf("%s: root should know: %s", r.Name, r.Detail)
		}
		if !r.Needed && r.Without == "" {
			t.Errorf("%s is not needed, but nothing says what Ward does without it", r.Name)
		}
	}
}

func TestLevels(t *testing.T) {
	needed, nice := Mechanism{Name: "needed", Needed: true}, Mechanism{Name: "nice"}
	for _, c := range []struct {
		name    string
		results []Result
		level   Level
		missing int
	}{
		{"all", []Result{{Mechanism: needed, Answer: Yes}, {Mechanism: nice, Answer: Yes}}, Full, 0},
		{"floor", []Result{{Mechanism: needed, Answer: Yes}, {Mechanism: nice, Answer: No}}, Floor, 1},
		{"unknown counts as missing", []Result{{Mechanism: needed, Answer: Yes}, {Mechanism: nice}}, Floor, 1},
		{"unsupported", []Result{{Mechanism: needed, Answer: No}, {Mechanism: nice, Answer: Yes}}, Unsupported, 1},
	} {
		if level, missing := LevelOf(c.results); level != c.level || len(missing) != c.missing {
			t.Errorf("%s: %v, %v", c.name, level, missing)
		}
	}
}
