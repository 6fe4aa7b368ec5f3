package image

import (
	"errors"
	"testing"

	"ward/abi"
)

// A domain has a child do what it may not do itself: make children of another
// template, or ones that outlive all of them. The controls: where the policy
// of the domain lets it, its child does.
func TestAttackMakesByChild(t *testing.T) {
	no := Verdict{Policy: abi.NoPolicy}
	forbidden := Verdict{Policy: 0}
	for _, c := range []struct {
		name         string
		spawn, adopt Verdict // of the domain itself, for the template of the grandchild
		adopted      bool
		by           uint32 // what denies it; 1 of a permit
		ok           bool
	}{
		{"control", Verdict{Allow: true, Policy: 0}, no, false, 1, true},
		{"nobody lets it", no, no, false, abi.NoPolicy, false},
		{"forbidden", forbidden, no, false, 0, false},
		{"control: outlives", Verdict{Allow: true, Policy: 0}, Verdict{Allow: true, Policy: 0}, true, 1, true},
		{"nobody lets it outlive", Verdict{Allow: true, Policy: 0}, no, true, abi.NoPolicy, false},
		{"it is forbidden to outlive", Verdict{Allow: true, Policy: 0}, forbidden, true, 0, false},
	} {
		img := familyImage()
		yes := Verdict{Allow: true, Policy: 1}
		img.Domains[1].Children.Number = 2
		img.Spawns = []Spawn{{0, 1, yes, no}, {1, 3, yes, yes}, {0, 3, c.spawn, c.adopt}}
		f := NewFamily(img)
		small := ChildQuota{Processes: 2, Memory: 1 << 20}
		if _, _, err := f.Add(FirstChild, 0, 1, "child", ChildQuota{Processes: 10, Memory: 4 << 20}, false); err != nil {
			t.Fatal(err)
		}
		_, v, err := f.Add(FirstChild+1, FirstChild, 3, "grandchild", small, c.adopted)
		if c.ok && (err != nil || v.Policy != c.by) || !c.ok && (!errors.Is(err, ErrChild) || v.Allow || v.Policy != c.by) {
			t.Errorf("%s: %v, %+v", c.name, err, v)
		}
	}
}
