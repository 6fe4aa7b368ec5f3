package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/kernel"
)

// families are the cgroups of families of the system, below its own, and what
// each weighs; ".": the system.
func (r *running) families() map[string]string {
	r.t.Helper()
	found := map[string]string{}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
		system, rel, _ := strings.Cut(path, "ward-"+r.name+".")
		if err != nil || !e.IsDir() || rel == "" {
			return nil
		}
		_, rel, _ = strings.Cut(rel, "/")
		for _, file := range []string{"cpu.weight", "cpu.shares"} { // v2, v1
			if weight, err := os.ReadFile(filepath.Join(path, file)); err == nil && system != "" && (rel == "" || strings.HasSuffix(rel, ".family")) {
				found["./"+rel] = file + " " + strings.TrimSpace(string(weight))
			}
		}
		return nil
	})
	return found
}

// cgroups are those of the domains that run, in all hierarchies.
func (r *running) cgroups() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for name, d := range r.domains() {
		if d.PID == 0 {
			continue
		}
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", d.PID)); err == nil { // else it has just ended
			all[name] = string(text)
		}
	}
	return all
}

// TestFamiliesOutlive: whatever process of wardd is killed or replaced, who is
// in a family stays there, what is made later comes there, and a family weighs
// what its first one weighs.
func TestFamiliesOutlive(t *testing.T) {
	if have, err := kernel.CgroupControllers(); err != nil || have["cpu"] == "" {
		t.Skip("needs a cpu controller in a mounted hierarchy: mount -t cgroup -o cpu none DIRECTORY")
	}
	r, chief := upOutlive(t, "children: { number: 5, depth: 3, tree: 8 }, quota: { cpu_weight: 200, processes: 400 }")
	adopted := chief.done("spawn keeper adopted processes=30 test.v1.Kin/One")
	branch := chief.done("spawn branch")
	r.await(r.since, "the leaf of the twig of the branch", func(k *audit.Record) bool { return k.Event == audit.EventSpawned && k.Domain == "leaf#1" })
	families := r.families()
	if len(families) != 4 { // of the system, of the chief, of the branch and of its twig
		t.Fatalf("families: %v", families)
	}
	for _, weight := range []string{"cpu.weight 200", "cpu.shares 2048"} {
		if strings.HasPrefix(weight, strings.Fields(families["./"])[0]) && families["./chief.family"] != weight {
			t.Errorf("the chief weighs 200, and its family %q", families["./chief.family"])
		}
	}
	home := func(of map[string]string, name string) string { // the line of the hierarchy that has families
		for line := range strings.Lines(of[name]) {
			if strings.Contains(line, "/chief.family/") {
				return filepath.Dir(strings.TrimSpace(line))
			}
		}
		return "no family: " + of[name]
	}
	for _, way := range append(slices.Clone(outlived), killing{name: "upgrade"}) {
		before := r.cgroups()
		r.killsAll(way.roles...)
		if after := r.cgroups(); !maps.Equal(after, before) {
			t.Errorf("%s: they were in %v and are in %v", way.name, before, after)
		}
		leaf := chief.done("spawn leaf")
		now := r.cgroups()
		if !strings.HasSuffix(home(now, leaf), "/chief.family") || home(now, leaf) != home(now, adopted) || home(now, leaf) != home(now, "chief") || home(now, leaf) == home(now, branch) {
			t.Errorf("%s: a new child is in %s, its parent in %s", way.name, home(now, leaf), home(now, "chief"))
		}
		chief.done("kill", leaf)
		chief.done("wait", leaf)
		if got := r.families(); !maps.Equal(got, families) {
			t.Errorf("%s: the families were %v and are %v", way.name, families, got)
		}
	}
	if err := unix.PidfdSendSignal(int(pidfdOf(t, r.domains()["chief"].PID).Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	r.ended("leaf#1")
	r.ended("chief")
	r.killsAll("creator", "monitor")
	if got := r.cgroups(); home(got, adopted) == home(nil, "") {
		t.Errorf("who outlives the chief is in %s", got[adopted])
	}
	limit, tick := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for len(r.families()) != 2 { // of who ended while there was no creator, the next one clears up
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("families are left: %v", r.families())
		}
	}
	pidfds := r.pidfdsLeft()
	if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := r.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, r.stderr)
	}
	r.gone(pidfds)
	r.leftovers()
}
