package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

var cgroupTrees atomic.Int32

// familyTree makes a tree of the test's own, where there is a cpu controller.
func familyTree(t *testing.T) (tree *CgroupTree, top string, v2 bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: cgroups")
	}
	have, err := CgroupControllers()
	if err != nil {
		t.Fatal(err)
	}
	if have["cpu"] == "" {
		t.Skip("needs a cpu controller in a mounted hierarchy: mount -t cgroup -o cpu none DIRECTORY")
	}
	tree, err = NewCgroupTree(fmt.Sprintf("ward-family-%d-%d", os.Getpid(), cgroupTrees.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Remove(); err != nil {
			t.Error(err)
		}
	})
	top, v2 = tree.weighing()
	return tree, top, v2
}

func join(t *testing.T, tree *CgroupTree, weight uint32, p CgroupPlace) *Cgroup {
	t.Helper()
	c, err := tree.New(p, CgroupLimits{}, CgroupLimits{CPUWeight: weight, Processes: 10, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	c.Born()
	return c
}

func mustRemove(t *testing.T, c *Cgroup) {
	t.Helper()
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
}

// A family weighs what its first one weighs, whoever is in it, and the system what
// the families and the others weigh. A creator that takes the tree over finds
// all of it again.
func TestCgroupFamilies(t *testing.T) {
	tree, top, v2 := familyTree(t)
	weighs := func(want uint64, rel ...string) {
		t.Helper()
		if got := readWeight(filepath.Join(append([]string{top}, rel...)...), v2); got != want {
			t.Errorf("%v weighs %d, want %d", rel, got, want)
		}
	}
	gone := func(rel ...string) {
		t.Helper()
		if isDir(filepath.Join(append([]string{top}, rel...)...)) {
			t.Errorf("%v is left", rel)
		}
	}
	plain := join(t, tree, 33, CgroupPlace{Name: "plain"})
	parent := join(t, tree, 200, CgroupPlace{Name: "parent", Family: true})
	weighs(233)
	child := join(t, tree, 50, CgroupPlace{Name: "child", Parent: "parent", Family: true, Weight: 200})
	grandchild := join(t, tree, 20, CgroupPlace{Name: "grandchild", Parent: "child"})
	weighs(233)
	weighs(33, "plain")
	weighs(200, "parent.family")
	weighs(200, "parent.family", "parent")
	weighs(50, "parent.family", "child.family")
	weighs(50, "parent.family", "child.family", "child")
	weighs(20, "parent.family", "child.family", "grandchild")
	for _, c := range []*Cgroup{plain, parent, child, grandchild} {
		for _, controller := range []string{"cpu", "memory", "pids"} {
			if dir := c.Limits[controller]; tree.enable(controller) && dir != c.Path || dir != "" && !isDir(dir) {
				t.Errorf("the limit of %s is set in %q, and it is in %s", controller, dir, c.Path)
			}
		}
	}

	again, err := OpenCgroupTree(tree.name)
	if err != nil {
		t.Fatal(err)
	}
	open := func(c *Cgroup) *Cgroup {
		t.Helper()
		o, err := again.Open(c.name)
		if err != nil {
			t.Fatal(err)
		}
		o.Born()
		if o.ID != c.ID || o.Path != c.Path || fmt.Sprint(o.Limits) != fmt.Sprint(c.Limits) {
			t.Errorf("%s is taken over as %+v, and was %+v", c.name, o, c)
		}
		return o
	}
	plain, parent, child, grandchild = open(plain), open(parent), open(child), open(grandchild)
	mustRemove(t, parent)
	mustRemove(t, child)
	weighs(20, "parent.family", "child.family", "grandchild")
	join(t, again, 10, CgroupPlace{Name: "last", Parent: "grandchild", Weight: 20}) // it could have none: half each
	weighs(10, "parent.family", "child.family", "grandchild")
	weighs(10, "parent.family", "child.family", "grandchild.family")
	parent = join(t, again, 300, CgroupPlace{Name: "parent"}) // it may have no more children, but comes back to those it had
	weighs(300, "parent.family")
	weighs(333)
	mustRemove(t, plain)
	weighs(300)
	mustRemove(t, parent)
	mustRemove(t, grandchild)
	weighs(300)
	if err := again.Clear("last"); err != nil {
		t.Fatal(err)
	}
	gone("parent.family")
	if len(again.weights) != 0 || len(again.inFamily) != 0 {
		t.Errorf("nobody is there, and these are known: %v, %v", again.weights, again.inFamily)
	}
}

// A creator that takes a system over and finds that one domain has ended leaves
// it the weight of the others, which it has not taken over yet.
func TestCgroupWeightTakenOver(t *testing.T) {
	tree, top, v2 := familyTree(t)
	join(t, tree, 70, CgroupPlace{Name: "ended"})
	join(t, tree, 200, CgroupPlace{Name: "lives"})
	join(t, tree, 30, CgroupPlace{Name: "parent", Family: true})
	again, err := OpenCgroupTree(tree.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Clear("ended"); err != nil {
		t.Fatal(err)
	}
	if got := readWeight(top, v2); got != 230 {
		t.Errorf("the system weighs %d, want 230", got)
	}
	join(t, again, 5, CgroupPlace{Name: "child", Parent: "parent"})
	if got := readWeight(top, v2); got != 230 {
		t.Errorf("with a child it weighs %d, want 230", got)
	}
}

// What somebody left behind who died half way goes, and is in nobody's way.
func TestCgroupFamiliesLeft(t *testing.T) {
	tree, top, _ := familyTree(t)
	join(t, tree, 100, CgroupPlace{Name: "parent", Family: true})
	join(t, tree, 100, CgroupPlace{Name: "child", Parent: "parent", Family: true, Weight: 200})
	for _, left := range []string{"early.family", "parent.family/early.family", "parent.family/early.family/more.family"} {
		if err := os.Mkdir(filepath.Join(top, left), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenCgroupTree(tree.name)
	if err != nil {
		t.Fatal(err)
	}
	if isDir(filepath.Join(top, "early.family")) || isDir(filepath.Join(top, "parent.family/early.family")) {
		t.Error("families without anybody are left")
	}
	if len(again.weights) != 1 || len(again.inFamily) != 2 {
		t.Errorf("it knows %v, %v", again.weights, again.inFamily)
	}
	// The one of v2 was removed before its creator died, and that of v1 not.
	if c, err := again.Open("child"); err != nil {
		t.Fatal(err)
	} else if c.Born(); c.Limits["cpu"] != c.Path {
		if err := removeCgroup(c.Path); err != nil {
			t.Fatal(err)
		}
	} else {
		mustRemove(t, c)
	}
	c, err := again.New(CgroupPlace{Name: "child", Parent: "parent", Family: true, Weight: 200}, CgroupLimits{}, CgroupLimits{CPUWeight: 100})
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits["cpu"] != c.Path && len(c.v1) == 0 {
		t.Error("nobody joins the cgroup that weighs")
	}
	c.Born()
	if err := again.Remove(); err != nil || isDir(top) || isDir(tree.path) {
		t.Errorf("something is left: %v", err)
	}
}
