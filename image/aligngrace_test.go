package image

import (
	"testing"
	"time"
)

// TestAlignGrace: a domain that is gone keeps its time of grace, also over further changes,
// because it may run still; one that is there has its own.
func TestAlignGrace(t *testing.T) {
	of := func(names ...string) *Image {
		img := &Image{Name: "s", Policies: []Policy{{ID: "start"}}}
		for i, n := range names {
			img.Domains = append(img.Domains, Domain{Name: n, Program: "/bin/" + n, Ring: Ring{Level: 3, Name: "user"}, Start: Verdict{Allow: true}, Grace: uint64(i+1) * uint64(time.Second)})
		}
		return img
	}
	img := of("stays", "goes")
	for n := range 2 {
		var err error
		if img, err = Align(img, of("stays")); err != nil {
			t.Fatal(err)
		}
		if got := img.Domains[1]; got.Name != "goes" || got.Start.Allow || got.Grace != uint64(2*time.Second) {
			t.Errorf("after change %d: %+v", n, got)
		}
	}
	img, err := Align(img, of("goes"))
	if err != nil || img.Domains[1].Grace != uint64(time.Second) || !img.Domains[1].Start.Allow {
		t.Errorf("there again: %+v, %v", img.Domains[1], err)
	}
}
