package upbench

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBenchChildren runs `ward bench spawn` for a few rounds. That it works is
// judged; the figures of a busy machine are not.
func TestBenchChildren(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	bench := exec.Command(filepath.Join(built(t), "ward"), "bench", "spawn", "-n", "3", "--json")
	bench.Stderr = os.Stderr
	out, err := bench.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	seen := map[string]int{}
	for line := range bytes.Lines(out) {
		var r ChildRow
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		seen[r.Bench+" "+r.Peer]++
		if r.P50 <= 0 || r.P90 < r.P50 && r.Bench != "depth" || r.Ratio <= 0 || r.Bench == "spawn-child" && (r.N != 3 || r.RatioDomain <= 0) {
			t.Errorf("figures do not hang together: %s", line)
		}
	}
	for _, want := range []string{"spawn exec", "spawn ward", "spawn-child exec", "spawn-child child, inherits", "spawn-child child, asks", "spawn-child domain"} {
		if seen[want] != 1 {
			t.Errorf("there are %d rows of %s", seen[want], want)
		}
	}
	if seen["depth "] != 4 {
		t.Errorf("there are %d depths", seen["depth "])
	}
}
