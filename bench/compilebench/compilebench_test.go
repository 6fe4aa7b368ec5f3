package compilebench

import (
	"context"
	"testing"
)

// TestRun: what is measured is a whole compilation, of systems of the stated size.
func TestRun(t *testing.T) {
	results, err := Run(context.Background(), Options{Policies: []int{10, 1000}, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{10, 1000} {
		r := results[i]
		if r.Policies != want || r.Domains != 100 || r.Methods != 1000 || r.Routes < want/10 || r.Compile <= 0 || r.Memory == 0 {
			t.Errorf("%+v", r)
		}
	}
	if results[1].Routes <= results[0].Routes {
		t.Errorf("more policies, but not more routes: %+v", results)
	}
}
