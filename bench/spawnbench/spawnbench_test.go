package spawnbench

import (
	"os"
	"testing"
)

// TestRun runs a few rounds; the figures of a busy machine are not judged.
func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	results, err := Run(t.Context(), 100, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Logf("%-12s p50 %d µs, p90 %d µs, %.2f x exec, %.2f x bwrap", r.Peer, r.P50/1000, r.P90/1000, r.Ratio, r.RatioBwrap)
		if r.N != 100 || r.P50 <= 0 || r.P50 > r.P90 {
			t.Errorf("figures of %s do not hang together: %+v", r.Peer, r)
		}
	}
}
