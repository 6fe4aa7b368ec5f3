package upbench

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBenchHandles runs `ward bench handle` for a few rounds. That the bytes
// arrive is judged; the figures of a busy machine are not.
func TestBenchHandles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	bench := exec.Command(filepath.Join(built(t), "ward"), "bench", "handle", "-n", "2", "--json")
	bench.Stderr = os.Stderr
	out, err := bench.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	seen := map[string]int{}
	for line := range bytes.Lines(out) {
		var r HandleRow
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		seen[r.Way]++
		if r.Bench != "handle" || r.N != 2 || r.P50 <= 0 || r.P90 < r.P50 || r.Ratio <= 0 {
			t.Errorf("figures do not hang together: %s", line)
		}
	}
	for _, way := range bulkWays {
		if seen[way] != len(HandleSizes) {
			t.Errorf("there are %d rows of %s", seen[way], way)
		}
	}
}
