package creator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// weighing has a broker (0) whose children (1) may have some, too, a neighbour (2),
// and three domains (3, 4, 5) that are as many as the children, and nobody's.
// All weigh the same and want as much of the processor as they can get.
func weighing(t *testing.T) *world {
	turns, ring := []string{"turns", "3000"}, image.Ring{Level: 3, Name: "user"}
	w := newWorld(t, 0,
		image.Domain{Name: "broker", Program: hostile, Args: turns, Ring: ring, Children: image.Children{Number: 3, Depth: 2, Tree: 4}},
		image.Domain{Name: "worker", Program: hostile, Args: turns, Ring: ring, Template: true, Children: image.Children{Number: 1, Depth: 1, Tree: 1}},
		image.Domain{Name: "neighbour", Program: hostile, Args: turns, Ring: ring},
		image.Domain{Name: "one", Program: hostile, Args: turns, Ring: ring},
		image.Domain{Name: "two", Program: hostile, Args: turns, Ring: ring},
		image.Domain{Name: "three", Program: hostile, Args: turns, Ring: ring},
	)
	yes := image.Verdict{Allow: true}
	w.img.Policies = []image.Policy{{ID: "all may"}}
	w.img.Spawns = []image.Spawn{{Parent: 0, Template: 1, Spawn: yes, Adopt: yes}, {Parent: 1, Template: 1, Spawn: yes, Adopt: yes}}
	return w
}

func (w *world) mustStart(i int) *live {
	w.t.Helper()
	l, err := w.start(i)
	if err != nil {
		w.t.Fatal(err)
	}
	l.ready(w.t)
	return l
}

func (w *world) kills(ids ...abi.DomainID) {
	w.t.Helper()
	for _, id := range ids {
		if err := w.client.Signal(context.Background(), id, syscall.SIGKILL); err != nil {
			w.t.Fatal(err)
		}
	}
	w.awaitExits(ids...)
}

// onOneProcessor lets all threads of these domains run on one processor only.
func onOneProcessor(t *testing.T, of ...*live) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := 0; one.Count() == 0; i++ {
		if all.IsSet(i) {
			one.Set(i)
		}
	}
	for _, l := range of {
		for pinned, before := map[string]bool{}, -1; before != len(pinned); { // threads that were made meanwhile too
			before = len(pinned)
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", l.PID))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tasks {
				tid, err := strconv.Atoi(e.Name())
				if err == nil && !pinned[e.Name()] {
					err = unix.SchedSetaffinity(tid, &one)
				}
				if err != nil && err != unix.ESRCH {
					t.Fatal(err)
				}
				pinned[e.Name()] = true
			}
		}
	}
}

// share is how much CPU time these domains get together while a neighbour
// gets one part: what the kernel counts, while all want one processor.
func share(t *testing.T, neighbour *live, of ...*live) float64 {
	t.Helper()
	onOneProcessor(t, append(of, neighbour)...)
	used := func(of ...*live) (sum uint64) {
		for _, l := range of {
			u, err := kernel.UseOf(l.PID)
			if err != nil || u.CPU == nil {
				t.Fatalf("the kernel does not count CPU time: %v", err)
			}
			sum += *u.CPU
		}
		return sum
	}
	until := func(ns uint64) { // the neighbour has had it: it says when to look
		for b := make([]byte, 16); used(neighbour) < ns; {
			if _, err := neighbour.output.Read(b); err != nil {
				t.Fatalf("the neighbour has ended: %v", err)
			}
		}
	}
	until(used(neighbour) + 100e6) // where they ran before counts for a while
	before, theirs := used(of...), used(neighbour)
	until(theirs + 300e6)
	return float64(used(of...)-before) / float64(used(neighbour)-theirs)
}

// TestAttackWeightByChildren: a domain makes children, they make children, and all
// spin. Together they get what a neighbour of the same weight gets, also when the
// domain has ended and they outlive it, and when it is back. The control: as many
// domains beside each other, as children were once, get one part each.
func TestAttackWeightByChildren(t *testing.T) {
	needController(t, "cpu")
	w := weighing(t)
	neighbour := w.mustStart(2)
	var others []*live
	for i := 3; i <= 5; i++ {
		others = append(others, w.mustStart(i))
	}
	broker := w.mustStart(0)
	if got := share(t, neighbour, append(others, broker)...); got < 3 {
		t.Fatalf("control: four domains get %.2f of what a fifth gets", got)
	}
	w.kills(3, 4, 5)
	child := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Adopted: true})
	second := w.mustSpawn(Order{Child: c0 + 1, Parent: 0, Template: 1, Adopted: true})
	grandchild := w.mustSpawn(Order{Child: c0 + 2, Parent: c0, Template: 1, Adopted: true})
	fair := func(when string, of ...*live) {
		t.Helper()
		got := share(t, neighbour, of...)
		t.Logf("%s: %.2f", when, got)
		if got > 1.6 || got < 0.6 {
			t.Errorf("%s: they get %.2f of what a neighbour of the same weight gets", when, got)
		}
	}
	fair("a domain, its children and theirs", broker, child, second, grandchild)
	if got := share(t, second, child, grandchild); got > 1.6 || got < 0.6 {
		t.Errorf("in the family: a child and its own get %.2f of what another child gets", got)
	}
	w.kills(0)
	fair("those that outlive it", child, second, grandchild)
	broker = w.mustStart(0)
	fair("it is back", broker, child, second, grandchild)
	w.kills(c0)
	third := w.mustSpawn(Order{Child: c0 + 3, Parent: 0, Template: 1})
	fair("a grandchild outlives its parent, and there is another child", broker, second, grandchild, third)
}

// cgroupIn is where a process is in the hierarchy that has the cpu controller.
func cgroupIn(t *testing.T, l *live) string {
	t.Helper()
	v2 := ""
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/cgroup", l.PID))) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[0] == "0" {
			v2 = f[2]
		}
		for _, c := range strings.Split(f[1], ",") {
			if c == "cpu" {
				return f[2]
			}
		}
	}
	return v2
}

// renew gives the creator its image with a change.
func (w *world) renew(change func(*image.Image)) {
	w.t.Helper()
	img := *w.img
	img.Domains, img.Spawns = slices.Clone(img.Domains), slices.Clone(img.Spawns)
	change(&img)
	encoded := image.Encode(&img)
	sealed, err := kernel.MakeMemory("image", uint64(len(encoded)), false)
	if err != nil {
		w.t.Fatal(err)
	}
	defer sealed.Close()
	if _, err := sealed.WriteAt(encoded, 0); err != nil {
		w.t.Fatal(err)
	}
	if _, err := unix.FcntlInt(sealed.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.Renew(context.Background(), sealed); err != nil {
		w.t.Fatal(err)
	}
}

// A family's cgroup is there as long as somebody is in it, and no longer; who
// can have no children has none.
func TestFamilyCgroups(t *testing.T) {
	needController(t, "cpu")
	w := weighing(t)
	expect := func(l *live, want ...string) {
		t.Helper()
		got := cgroupIn(t, l)
		if _, rest, ok := strings.Cut(got, w.cgroup+"/"); !ok || rest != filepath.Join(want...) {
			t.Errorf("it is in %s, want %s of %s", got, filepath.Join(want...), w.cgroup)
		}
	}
	families := func(want int) {
		t.Helper()
		n := 0
		filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".family") && strings.Contains(path, w.cgroup+"/") {
				n++
			}
			return nil
		})
		if n != want {
			t.Errorf("%d families, want %d", n, want)
		}
	}
	expect(w.mustStart(2), "neighbour")
	families(0)
	broker := w.mustStart(0)
	expect(broker, "broker.family", "broker")
	child := w.mustSpawn(Order{Child: c0, Parent: 0, Template: 1, Adopted: true})
	expect(child, "broker.family", "child.3072.family", "child.3072")
	grandchild := w.mustSpawn(Order{Child: c0 + 1, Parent: c0, Template: 1, Adopted: true})
	expect(grandchild, "broker.family", "child.3072.family", "child.3073") // of the last generation: it has no family
	families(2)
	w.kills(0)
	w.kills(c0)
	expect(grandchild, "broker.family", "child.3072.family", "child.3073")
	families(2)
	again := w.mustStart(0)
	expect(again, "broker.family", "broker")
	w.kills(c0 + 1)
	families(1)
	w.kills(0)
	families(0)
	// A reload lets a domain have children that runs already.
	plain := w.mustStart(3)
	expect(plain, "one")
	yes := image.Verdict{Allow: true}
	w.renew(func(img *image.Image) {
		img.Domains[3].Children = image.Children{Number: 1, Depth: 1, Tree: 1}
		img.Spawns = append(img.Spawns, image.Spawn{Parent: 3, Template: 1, Spawn: yes, Adopt: yes})
	})
	late := w.mustSpawn(Order{Child: c0 + 2, Parent: 3, Template: 1, Adopted: true})
	expect(late, "one.family", "child.3074")
	w.kills(3)
	w.renew(func(*image.Image) {})
	expect(w.mustStart(3), "one.family", "one")
	expect(late, "one.family", "child.3074")
	w.end()
	families(0)
}
