package creator

import (
	"testing"

	"ward/image"
	"ward/kernel"
)

// TestHitsWhileItLives: what a domain runs into is told while it lives, not only
// when it ends; a creator that takes it over does not tell it again.
func TestHitsWhileItLives(t *testing.T) {
	needController(t, "pids")
	w := newWorld(t, 0, image.Domain{Name: "few", Program: hostile, Args: []string{"forkstay", "60"}, Host: true, Quota: image.Quota{Processes: 30}})
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	h, ok := <-w.client.Hits()
	if !ok || h.Domain != 0 || h.Limit != LimitProcesses || h.Count == 0 {
		t.Fatalf("%+v, %v", h, ok)
	}
	if !lives(l) {
		t.Error("it is told when it has ended")
	}
	tree, err := kernel.OpenCgroupTree(w.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tree.Open("few")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Born()
	watch, err := kernel.NewCgroupWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, known := range []bool{false, true} { // the control: a watch that knows nothing tells all
		if err := watch.Add(1, c); err != nil {
			t.Fatal(err)
		}
		if known {
			watch.Known(1)
		}
		if hits := watch.Remove(1); len(hits) == 0 != known {
			t.Errorf("known: %v, told: %+v", known, hits)
		}
	}
}
