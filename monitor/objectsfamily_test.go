package monitor

import (
	"testing"

	"ward/abi"
	"ward/image"
	"ward/objects"
)

// TestAttackReferencesByChildren: a domain and its children open as many objects as
// each may, to leave nobody else any. All together have those of four domains. The
// controls: each of them has fewer than it may, and another domain may go on.
func TestAttackReferencesByChildren(t *testing.T) {
	f := startFamily(t, 0, func(*image.Image) {})
	f.spawn(f.parent, "middle", 0)
	f.spawn(f.parent, "middle", 0)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	family := []*domain{f.m.domains[client]}
	for _, d := range f.m.children {
		family = append(family, d)
	}
	i := f.m.book.Make(0, 4096, false)
	defer func() {
		for _, d := range family {
			f.m.book.EndOwner(d.owner())
		}
	}()
	const most = kinTimes * objects.MaxReferences
	n := 0
	for n < most+1 {
		before := n
		for _, d := range family {
			if f.m.mayRefer(d) == nil {
				f.m.book.Refer(d.owner(), i.ID, abi.AccessRead, 0, 0)
				n++
			}
		}
		if n == before {
			break
		}
	}
	if n != most || len(family) <= kinTimes {
		t.Errorf("a family of %d has %d references, want %d", len(family), n, most)
	}
	for _, d := range family {
		if err := f.m.book.CanRefer(d.owner()); err != nil {
			t.Errorf("control: %s: %v", d.def.Name, err)
		}
	}
	if err := f.m.mayRefer(f.m.domains[second]); err != nil {
		t.Errorf("control: another domain: %v", err)
	}
}
