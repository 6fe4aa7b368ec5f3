package reloadbench

import (
	"context"
	"os"
	"testing"
)

func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: filters in the kernel")
	}
	results, err := Run(context.Background(), Options{Gates: 7, Routes: 3, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 {
		t.Fatalf("%d rounds", len(results))
	}
	for _, r := range results {
		if r.Gates != 7 || r.Routes != 3 || r.Prepare <= 0 || r.Swap <= 0 || r.Done < r.Swap || r.Open <= 0 {
			t.Errorf("%+v", r)
		}
	}
}
