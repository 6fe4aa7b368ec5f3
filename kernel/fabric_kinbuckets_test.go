package kernel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// Children, and delegations, whose rates are many and slow: their buckets are not full again
// when they have ended, and stay. Others find buckets all the same. The control:
// where children have no bound they take all, and others get none.
func TestAttackBucketsByChildren(t *testing.T) {
	needRoot(t)
	child := func(i int) string { return filter.Sender(image.FirstChild+abi.DomainID(i)) + ` "slow" Say 0` }
	loan := func(i int) string { return onceMark(true) + filter.Sender(1) + fmt.Sprintf(" uses %d", i) }
	for what, c := range map[string]struct {
		most uint32
		name func(int) string
	}{"control: children without a bound": {0, child}, "children": {2, child}, "delegations": {2, loan}} {
		t.Run(what, func(t *testing.T) {
			var table bucketTable
			if err := table.open(4, c.most); err != nil {
				t.Fatal(err)
			}
			defer table.m.Close()
			now, err := bootTime()
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for i := range 6 {
				rows, err := table.take([]string{c.name(i)})
				if err != nil {
					if c.most > 0 && !errors.Is(err, ErrKinBuckets) {
						t.Error(err)
					}
					continue
				}
				got++
				if err := table.m.Put(rows[0], now+hour); err != nil {
					t.Fatal(err)
				}
				if c.name(i) == child(i) {
					table.give([]string{c.name(i)}) // it has ended
				}
			}
			_, err = table.take([]string{filter.Sender(2) + ` "slow" Say 0`, "user 1000 " + `"slow" Say 0`})
			if c.most == 0 {
				if got != 4 || err == nil || !strings.Contains(err.Error(), "all 4 buckets") {
					t.Errorf("%d for children; others: %v", got, err)
				}
				return
			}
			if got != 2 || err != nil {
				t.Errorf("%d, want 2; others: %v", got, err)
			}
			if c.name(0) != child(0) {
				table.give([]string{c.name(0)})
			} else if err := table.m.Put(table.byName[c.name(0)].row, now-1); err != nil { // full again
				t.Fatal(err)
			}
			if _, err := table.take([]string{c.name(9)}); err != nil || table.kin != 2 {
				t.Errorf("when one is free: %v, and %d are counted", err, table.kin)
			}
		})
	}
}

// A fabric that is taken over counts the buckets of children that there are.
func TestKinBucketsRestored(t *testing.T) {
	cfg := FabricConfig{Gates: 4, Programs: 8, Words: 2, Buckets: 4, KinBuckets: 2}
	g := newGateTest(t, echoImage(), cfg)
	kept := []BucketState{{filter.Sender(image.FirstChild) + " a", 0}, {filter.Sender(1) + " a", 1}, {onceMark(true) + filter.Sender(1) + " uses 1", 2}}
	f, err := RestoreFabric(cfg, dupAll(t, g.f.Files()), 1000, kept)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.buckets.take([]string{kept[0].Name}); err != nil {
		t.Errorf("one that there is: %v", err)
	}
	f.buckets.settle() // nobody uses the delegation's any more
	if f.buckets.kin != 1 {
		t.Errorf("%d are counted", f.buckets.kin)
	}
}
