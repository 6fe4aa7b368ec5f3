package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// installs puts a program in the place of wardd, by a rename, as an installation does.
func (r *running) installs(from string) {
	r.t.Helper()
	path := filepath.Join(r.bin, "wardd")
	program, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(path+".new", program, 0o755)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestUpgradeFallsBack: where what is installed does not stay, the processes are
// started of the program before again; gates go on, checked, and nobody is started
// again. The control is TestUpgrade: what stays is used.
func TestUpgradeFallsBack(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before, was := r.domains(), r.wholly()
	kept := filepath.Join(t.TempDir(), "wardd")
	if err := os.Link(filepath.Join(r.bin, "wardd"), kept); err != nil {
		if out, err := exec.Command("cp", "-p", filepath.Join(r.bin, "wardd"), kept).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	t.Cleanup(func() { r.installs(kept) })
	r.installs(filepath.Join(r.bin, "probe")) // it ends at once, under these names
	at := time.Now()
	if err := admin.Upgrade(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	r.await(at, "the way back", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "what was upgraded to does not stay: back to the program before")
	})
	for role, pid := range was {
		r.comesBack(role, pid)
	}
	r.await(at, "the return of the monitor", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "monitor is back")
	})
	r.sameDomains(before)
	now := time.Now()
	r.granted(now)
	r.await(now, "an allowed call after it", isCall(audit.Allow, "hello"))
	r.await(now, "a denied call after it", isCall(audit.Deny, "secret"))
	r.stops()
}

// TestUpgradeIsRefused: where somebody else may write where wardd stands, nothing is
// upgraded, whoever asks is told why, and nothing has ended. The control: as soon as
// nobody else may, it is.
func TestUpgradeIsRefused(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	was := r.wholly()
	info, err := os.Stat(r.bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(r.bin, info.Mode().Perm()) })
	if err := os.Chmod(r.bin, 0o777); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := admin.Upgrade(t.Context(), r.dir); err == nil || !strings.Contains(err.Error(), "nothing was upgraded") || !strings.Contains(err.Error(), r.bin+" is not root's alone") {
			t.Errorf("asked: %v", err)
		}
	}
	for role, pid := range r.wholly() {
		if pid != was[role] {
			t.Errorf("the %s was process %d and is %d", role, was[role], pid)
		}
	}
	if err := os.Chmod(r.bin, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
	if err := admin.Upgrade(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	for role, pid := range was {
		r.comesBack(role, pid)
	}
	r.stops()
}

// TestCapabilitiesAreShown: what `wardd capabilities` prints is what the table has
// that live processes are compared with (TestPosture).
func TestCapabilitiesAreShown(t *testing.T) {
	var shown strings.Builder
	printPostures(&shown, &options{})
	table, err := os.ReadFile(postureTable)
	if err != nil {
		t.Fatal(err)
	}
	role, lists := "", map[string]map[string]string{}
	for line := range strings.Lines(shown.String()) {
		text := strings.TrimSpace(line)
		if !strings.HasPrefix(line, " ") {
			role, lists[text] = text, map[string]string{}
			continue
		}
		for _, key := range []string{"capabilities", "can raise"} {
			if rest, ok := strings.CutPrefix(text, key+"  "); ok {
				lists[role][key] = strings.TrimSpace(rest)
			}
		}
	}
	if len(lists) != 4 {
		t.Fatalf("%d processes are shown:\n%s", len(lists), shown.String())
	}
	for role, list := range lists {
		all := strings.Fields(strings.ReplaceAll(list["capabilities"]+" "+list["can raise"], "none", ""))
		for _, c := range []struct {
			field string
			want  []string
		}{{"capabilities", strings.Fields(strings.ReplaceAll(list["capabilities"], "none", ""))}, {"capabilities that it can raise", all}, {"capabilities of what it executes, at most", all}} {
			_, rest, found := strings.Cut("\n"+string(table), "\n"+role+": "+c.field+": ")
			line, _, _ := strings.Cut(rest, "\n")
			have := strings.Fields(strings.ReplaceAll(line, "none", ""))
			if !found || !sameWords(have, c.want) {
				t.Errorf("%s, %s: shown %v, of live processes %v", role, c.field, c.want, have)
			}
		}
	}
}

// sameWords reports whether two lists have the same words, in any order.
func sameWords(a, b []string) bool {
	count := map[string]int{}
	for _, w := range a {
		count[w]++
	}
	for _, w := range b {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
