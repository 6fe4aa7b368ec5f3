package kernel

import (
	"errors"
	"path/filepath"
	"testing"
)

// A domain that is in no family, and the family beside it, weigh together what it
// weighs, whichever of them comes or goes, whoever dies half way, and nobody's
// weight is more than that meanwhile. The control is a domain in its family.
func TestCgroupHalves(t *testing.T) {
	tree, top, v2 := familyTree(t)
	weighs := func(when string, system, own, family uint64) {
		t.Helper()
		for rel, want := range map[string]uint64{".": system, "plain": own, "plain.family": family} {
			dir := filepath.Join(top, rel)
			if isDir(dir) != (want != 0) {
				t.Errorf("%s: there is %s: %v", when, rel, isDir(dir))
			} else if got := readWeight(dir, v2); want != 0 && got != want {
				t.Errorf("%s: %s weighs %d, want %d", when, rel, got, want)
			}
		}
	}
	weigh := func(tree *CgroupTree, w uint32) {
		t.Helper()
		if err := tree.Weigh("plain", w); err != nil {
			t.Fatal(err)
		}
	}
	plain := join(t, tree, 75, CgroupPlace{Name: "plain"})
	weigh(tree, 75)
	weighs("alone", 75, 75, 0)
	child := join(t, tree, 50, CgroupPlace{Name: "child", Parent: "plain", Weight: 75})
	weighs("with a child", 75, 38, 37)
	second := join(t, tree, 75, CgroupPlace{Name: "second", Parent: "plain", Weight: 75})
	weighs("with two", 75, 38, 37)
	mustRemove(t, child)
	weigh(tree, 75)
	weighs("one has ended", 75, 38, 37)
	mustRemove(t, second)
	weigh(tree, 75)
	weighs("both have ended", 75, 75, 0)

	// A creator dies when it has made the family, and when it has taken the weight of
	// the domain, and when it has given neither back.
	if err := tree.makeFamily(top, v2, "plain.family", 0); err != nil {
		t.Fatal(err)
	}
	left := join(t, tree, 50, CgroupPlace{Name: "left", Parent: "plain", Weight: 75})
	if err := writeWeight(filepath.Join(top, "plain"), v2, 75); err != nil {
		t.Fatal(err)
	}
	again, err := OpenCgroupTree(tree.name)
	if err != nil {
		t.Fatal(err)
	}
	weigh(again, 75)
	weighs("taken over before the weight was taken", 75, 38, 37)
	if left, err = again.Open("left"); err != nil {
		t.Fatal(err)
	}
	mustRemove(t, left)
	third, err := OpenCgroupTree(tree.name) // plain has half, and there is no family
	if err != nil {
		t.Fatal(err)
	}
	weighs("taken over before the weight was given back", 38, 38, 0)
	weigh(third, 75)
	weighs("given back", 75, 75, 0)

	// The domain ends, its child stays; it comes back to its family.
	stays := join(t, third, 50, CgroupPlace{Name: "stays", Parent: "plain", Weight: 75})
	plain, err = third.Open("plain")
	if err != nil {
		t.Fatal(err)
	}
	mustRemove(t, plain)
	weigh(third, 75)
	weighs("it has ended", 75, 0, 75)
	plain = join(t, third, 75, CgroupPlace{Name: "plain"})
	weigh(third, 75)
	if got, want := plain.Limits["cpu"], filepath.Join(top, "plain.family", "plain"); got != want {
		t.Errorf("it is back in %s, want %s", got, want)
	}
	weighs("it is back", 75, 0, 75)
	mustRemove(t, stays)
	mustRemove(t, plain)
	if len(third.weights) != 0 {
		t.Errorf("nobody is there, and these are known: %v", third.weights)
	}

	// What cannot be halved is not.
	light := join(t, third, 1, CgroupPlace{Name: "light"})
	if _, err := third.New(CgroupPlace{Name: "more", Parent: "light", Weight: 1}, CgroupLimits{}, CgroupLimits{CPUWeight: 1}); !errors.Is(err, ErrIndivisible) {
		t.Errorf("a child of one that weighs 1: %v", err)
	}
	if isDir(filepath.Join(top, "light.family")) || readWeight(filepath.Join(top, "light"), v2) != 1 {
		t.Error("something is left of it")
	}
	mustRemove(t, light)
	with := join(t, third, 1, CgroupPlace{Name: "with", Family: true})
	in := join(t, third, 1, CgroupPlace{Name: "in", Parent: "with", Weight: 1}) // the control
	if got := readWeight(filepath.Join(top, "with.family"), v2); got != 1 {
		t.Errorf("a family weighs %d", got)
	}
	mustRemove(t, in)
	mustRemove(t, with)
}
