package callbench

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Peer()
	os.Exit(m.Run())
}

// All peers answer, and no process, directory or descriptor is left. How fast
// they are is for `make bench`: a test machine does other things besides.
func TestPeersAnswer(t *testing.T) {
	rows, err := Run(t.Context(), Options{
		Peers: []string{Raw, Plain, GRPC, DBus}, Outstanding: []int{1, 4}, Rounds: 1, Turn: 10 * time.Millisecond,
		Skipped: func(peer string, why error) { t.Logf("skipped %s: %v", peer, why) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		b, _ := json.Marshal(r)
		t.Logf("%s", b)
		if r.P50 <= 0 || r.P99 < r.P50 || r.P999 < r.P99 || r.Ratio <= 0 {
			t.Errorf("row makes no sense: %+v", r)
		}
	}
}
