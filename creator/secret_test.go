package creator

import (
	"fmt"
	"os"
	"slices"
	"strings"
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

// TestLockedAtStart: a domain gets that limit, or it is said that it cannot have
// it: what it makes could not be mapped.
func TestLockedAtStart(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "keeper", Program: hostile, Args: []string{"idle"}}, image.Domain{Name: "hoarder", Program: hostile, Args: []string{"idle"}})
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	none := []image.Verdict{no, no}
	w.img.Objects = []image.Object{
		{Name: "keys", Kind: image.ObjectSecret, Size: 4096, Count: 4, Domain: abi.NoDomain, Create: []image.Verdict{yes, no}, Read: none, Write: none},
		{Name: "tables", Kind: image.ObjectSecret, Size: image.MaxSecretSize, Count: image.MaxSecretCount, Domain: abi.NoDomain, Create: []image.Verdict{no, yes}, Read: none, Write: none},
	}
	for id, want := range []uint64{kernel.DefaultLocked + 4*uint64(os.Getpagesize()), kernel.DefaultLocked + image.MaxSecretSize*image.MaxSecretCount} {
		d, err := w.start(id)
		if err != nil {
			if id == 0 || !strings.Contains(err.Error(), "for the secret memory that it may make") {
				t.Errorf("domain %d: %v", id, err)
			}
			continue
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.PID))
		if err != nil || !strings.Contains(string(limits), fmt.Sprint("Max locked memory         ", want, " ")) {
			t.Errorf("domain %d: %v; want %d of locked memory in\n%s", id, err, want, limits)
		}
	}
}
