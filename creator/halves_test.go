package creator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
)

// cpuDir is the directory of a process's cgroup in the hierarchy that has the cpu
// controller.
func cpuDir(t *testing.T, l *live) string {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		dir := filepath.Join(left[4], cgroupIn(t, l))
		for _, file := range []string{"cpu.shares", "cpu.weight"} {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil && strings.HasPrefix(right[0], "cgroup") {
				return dir
			}
		}
	}
	t.Fatal("no cpu controller counts it")
	return ""
}

// weighs returns what the cgroup of a process weighs, and the one around that, as
// the kernel has it.
func weighs(t *testing.T, l *live) (own, around uint64) {
	t.Helper()
	weight := func(dir string) uint64 {
		t.Helper()
		file := "cpu.weight"
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			file = "cpu.shares"
		}
		n, err := strconv.ParseUint(strings.TrimSpace(read(t, filepath.Join(dir, file))), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if file == "cpu.shares" {
			n = (n*100 + 1023) / 1024
		}
		return n
	}
	dir := cpuDir(t, l)
	return weight(dir), weight(filepath.Dir(dir))
}

// permitLater lets domain 3 of weighing have children, by another image.
func permitLater(img *image.Image) {
	yes := image.Verdict{Allow: true}
	img.Domains[3].Children = image.Children{Number: 2, Depth: 1, Tree: 2}
	img.Spawns = append(img.Spawns, image.Spawn{Parent: 3, Template: 1, Spawn: yes, Adopt: yes})
}

// TestAttackWeightByReload: a domain that could have no children when it was
// started has some when a reload permits it. It and they weigh together what it
// weighs: in the kernel's files, from before the first of them runs until the last
// has ended, and when the domain has ended or is back. The control: a domain
// beside it, and a child of none, weigh that once more.
func TestAttackWeightByReload(t *testing.T) {
	needController(t, "cpu")
	w := weighing(t)
	one, other := w.mustStart(3), w.mustStart(4)
	own := func(when string, l *live, want, system uint64) {
		t.Helper()
		if got, around := weighs(t, l); got != want || around != system {
			t.Errorf("%s: it weighs %d of %d, want %d of %d", when, got, around, want, system)
		}
	}
	own("control", one, 100, 200)
	own("control", other, 100, 200)
	w.renew(permitLater)
	own("it may have children", one, 100, 200)
	child := w.mustSpawn(Order{Child: c0, Parent: 3, Template: 1, Adopted: true})
	second := w.mustSpawn(Order{Child: c0 + 1, Parent: 3, Template: 1, Adopted: true})
	own("it has some", one, 50, 200)
	own("a child, in the family", child, 100, 50)
	own("another", second, 100, 50)
	own("the neighbour", other, 100, 200)
	w.kills(c0)
	own("one is left", one, 50, 200)
	w.kills(c0 + 1)
	own("none is left", one, 100, 200)
	child = w.mustSpawn(Order{Child: c0 + 2, Parent: 3, Template: 1, Adopted: true})
	own("one is there", one, 50, 200)
	w.kills(3)
	own("it has outlived its parent", child, 100, 100)
	one = w.mustStart(3)
	own("its parent is back", child, 100, 100)
	own("its parent is back", one, 100, 100)
	own("the neighbour", other, 100, 200)
}

// follower is another creator on the cgroups of this one, as after its death.
func (w *world) follower(change func(*image.Image)) *Client {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	img := *w.img
	img.Domains, img.Spawns = slices.Clone(img.Domains), slices.Clone(img.Spawns)
	change(&img)
	served, conn := make(chan error, 1), os.NewFile(uintptr(pair[0]), "monitor")
	go func() {
		served <- Serve(os.NewFile(uintptr(pair[1]), "creator"), &img, Config{UIDBase: testUIDs, Cgroup: w.cgroup})
	}()
	client := NewClient(conn)
	w.t.Cleanup(func() {
		w.end() // what both have is this one's to remove
		client.Stop(context.Background())
		<-served
	})
	return client
}

// A creator that takes over after one that died half way gives back the weights
// that were taken, or takes them: what they are depends on who is there.
func TestHalvesAfterADeath(t *testing.T) {
	needController(t, "cpu")
	w := weighing(t)
	one := w.mustStart(3)
	w.renew(permitLater)
	dir := cpuDir(t, one)
	file := "cpu.weight"
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		file = "cpu.shares"
	}
	set := func(weight int) { // as the one before left it
		t.Helper()
		if file == "cpu.shares" {
			weight = weight * 1024 / 100
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(weight)), 0); err != nil {
			t.Fatal(err)
		}
	}
	own := func(when string, l *live, want, around uint64) {
		t.Helper()
		if got, in := weighs(t, l); got != want || in != around {
			t.Errorf("%s: it weighs %d of %d, want %d of %d", when, got, in, want, around)
		}
	}
	settles := func(c *Client, adopt ...error) {
		t.Helper()
		if err := errors.Join(append(adopt, c.Settle(t.Context()))...); err != nil {
			t.Fatal(err)
		}
	}
	set(50)
	own("the control: not given back", one, 50, 100)
	c := w.follower(permitLater)
	settles(c, c.Adopt(t.Context(), 3, one.PID, one.Pidfd))
	own("given back", one, 100, 100)

	child := w.mustSpawn(Order{Child: c0, Parent: 3, Template: 1})
	own("with a child", one, 50, 100)
	set(100)
	own("the control: not taken", one, 100, 100)
	c = w.follower(permitLater)
	settles(c, c.Adopt(t.Context(), 3, one.PID, one.Pidfd),
		c.AdoptChild(t.Context(), Kinship{Root: 3, Line: births("child", image.ChildQuota{})}, child.PID, child.Pidfd))
	own("taken", one, 50, 100)
	own("a child, in the family", child, 100, 50)
}
