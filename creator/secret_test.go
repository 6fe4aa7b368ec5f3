package creator

import (
	"os"
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// TestLocked: a domain may lock what secret memory it may make takes, and no more
// than others beside it.
func TestLocked(t *testing.T) {
	page := uint64(os.Getpagesize())
	may := func(who ...bool) (list []image.Verdict) {
		for _, yes := range who {
			list = append(list, image.Verdict{Allow: yes, Policy: abi.NoPolicy})
		}
		return list
	}
	none := slices.Repeat(may(false), 2)
	c := &creator{img: &image.Image{Objects: []image.Object{
		{Name: "keys", Kind: image.ObjectSecret, Size: 1, Count: 4, Create: may(true, false), Read: none, Write: none},
		{Name: "tables", Kind: image.ObjectSecret, Size: 3*page + 1, Count: 2, Create: may(true, false), Read: none, Write: none},
		{Name: "frames", Kind: image.ObjectMemory, Size: 1 << 30, Count: 8, Create: may(true, true), Read: none, Write: none},
	}}}
	for id, want := range []uint64{4*page + 2*4*page, 0, 0} {
		if got := c.locked(abi.DomainID(id)); got != kernel.DefaultLocked+want {
			t.Errorf("domain %d may lock %d bytes, want %d and what all may", id, got, want)
		}
	}
}
