package filterbench

import (
	"os"
	"testing"
)

// TestDepths: a message of a deeper child is admitted, by a longer decision; the
// figures of a busy machine are not judged.
func TestDepths(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs filters in the kernel")
	}
	rows, err := Depths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		t.Logf("depth %d: p50 %d ns, %.2f, %d instructions of %d", r.Depth, r.P50, r.Ratio, r.Run, r.Length)
		if r.Depth != depths[i] || r.P50 <= 0 || r.Best > r.P50 || r.Run > r.Length || i > 0 && (r.Run <= rows[i-1].Run || r.Length <= rows[i-1].Length) {
			t.Errorf("figures do not hang together: %+v", r)
		}
	}
}
