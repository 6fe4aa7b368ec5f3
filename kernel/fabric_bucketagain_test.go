package kernel

import (
	"testing"

	"ward/filter"
	"ward/image"
)

// A bucket that was forgotten and came again in another row: who takes the fabric over is told
// of both rows, and last of that which the bucket has. The other one is free, and the
// bucket counts once. Were it not, each that came again would take a row for ever.
func TestBucketCameAgain(t *testing.T) {
	cfg := FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 2, KinBuckets: 2}
	g := newGateTest(t, echoImage(), cfg)
	again := filter.Sender(image.FirstChild) + " a"
	f, err := RestoreFabric(cfg, dupAll(t, g.f.Files()), 1000, []BucketState{{again, 0}, {again, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := f.buckets.take([]string{again})
	if err != nil || rows[0] != 1 {
		t.Errorf("the one that came again: rows %v, %v", rows, err)
	}
	rows, err = f.buckets.take([]string{filter.Sender(image.FirstChild+1) + " a"})
	if err != nil || rows[0] != 0 || f.buckets.kin != 2 {
		t.Errorf("another one: rows %v, %v; %d are counted", rows, err, f.buckets.kin)
	}
}
