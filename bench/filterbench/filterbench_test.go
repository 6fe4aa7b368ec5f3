package filterbench

import (
	"os"
	"testing"
)

// Bounds for 8 scalar fields, and for a byte of a validated string, in ns. The
// test allows for a machine that does other things, too.
const (
	maxEightFields = 250
	maxPerByte     = 1.0
	slack          = 2
)

func TestCosts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	base := map[string]int64{}
	instructions, checked := map[int]int{}, map[int]int{} // by policies; by fields
	err := Run(t.Context(), func(r Row) {
		t.Logf("%2d fields, %4d bytes %-5s, %5d policies: %4d ns (best %d), decision: %d of %d instructions", r.Fields, r.Size, r.Text, r.Policies, r.P50, r.Best, r.Instructions, r.Generated)
		switch {
		case r.Check == full:
			checked[r.Fields] = r.Instructions
		case r.Check == spared:
			if few := checked[1]; r.Instructions >= few || r.Fields > 1 && checked[r.Fields] <= few {
				t.Errorf("%d parameters: %d instructions with their conditions, %d for a trusted caller; with one parameter %d",
					r.Fields, checked[r.Fields], r.Instructions, few)
			}
		case r.Fields == 1 && r.Size == 0:
			base["none"] = r.Best
		case r.Size >= 1000:
			if per := float64(r.Best-base["none"]) / float64(r.Size); per > maxPerByte*slack {
				t.Errorf("a byte of %s costs %.2f ns, the limit is %.2f", r.Text, per, maxPerByte)
			}
		case r.Fields == 8:
			if r.Best > maxEightFields*slack {
				t.Errorf("8 fields cost %d ns, the limit is %d", r.Best, maxEightFields)
			}
			instructions[r.Policies] = r.Instructions
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, got := range instructions {
		if got != instructions[10] {
			t.Errorf("%d instructions executed among %d policies, %d among 10", got, n, instructions[10])
		}
	}
}
