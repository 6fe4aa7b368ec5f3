package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// Children and delegations, and processes of wardd that are killed.

const outliveDomains = `
  server: { program: FAMILY, args: [kin], exports: [test.v1.Kin] }
  keeper: { program: FAMILY, args: [stay], template: true }
  leaf: { program: FAMILY, args: [rest], template: true, quota: { processes: 40 } }
  twig: { program: FAMILY, args: [nest, leaf], template: true, children: { number: 1, depth: 3, tree: 9 }, quota: { processes: 60 } }
  branch: { program: FAMILY, args: [nest, twig], template: true, children: { number: 1, depth: 3, tree: 9 }, quota: { processes: 80 } }
  borrower: { program: FAMILY, args: [borrow], template: true }
  counter: { program: FAMILY, args: [count], template: true }
`

// upOutlive starts a system with one chief.
func upOutlive(t *testing.T, more string) (*running, *attacker) {
	t.Helper()
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	chief := strings.Replace(bossLine("chief", more), "[boss]", "[chief]", 1)
	r := upOf(t, []string{"testdata/system/kin.proto", "testdata/system/outlive.cedar"}, strings.ReplaceAll(outliveDomains+chief, "FAMILY", family))
	r.report(lifeline.Ready)
	return r, r.attacker("chief")
}

// killsAll kills processes of wardd, one right after the other, and waits until
// others have their roles and the monitor answers. Without roles, all are replaced.
func (r *running) killsAll(roles ...string) (at time.Time) {
	r.t.Helper()
	was := r.wholly()
	at = time.Now()
	if len(roles) == 0 {
		if err := admin.Upgrade(r.t.Context(), r.dir); err != nil {
			r.t.Fatal(err)
		}
		roles = slices.Collect(maps.Keys(was))
	} else {
		for _, role := range roles {
			r.kills(was[role])
		}
	}
	for _, role := range roles {
		r.comesBack(role, was[role])
	}
	r.domains()
	return at
}

// wholly lists the processes of wardd when all are seen at once. The kernel may
// leave one out of the list of a process's children while others end (proc(5)).
func (r *running) wholly() map[string]int {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		now := r.processes()
		if now["monitor"] != 0 && now["creator"] != 0 && now["audit"] != 0 {
			return now
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("of wardd there are only %v", now)
		}
	}
}

func called(from, verdict, method string) func(*audit.Record) bool {
	return func(k *audit.Record) bool {
		return k.Event == audit.EventCall && k.From == from && k.Method == "test.v1.Kin/"+method && k.Verdict == verdict
	}
}

// A killing is a way to be killed: who is, one after the other; nobody: all are replaced.
type killing struct {
	name  string
	roles []string
}

var outlived = []killing{{"monitor", []string{"monitor"}}, {"creator", []string{"creator"}}, {"both", []string{"monitor", "creator"}}, {"both-again", []string{"creator", "monitor"}}}

// TestChildrenOutlive: monitor and creator are killed, one or both; children go
// on, are judged as before, are as many and have as much as before, and end
// with their parents, or when they are told to.
func TestChildrenOutlive(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 5, depth: 3, tree: 8 }, quota: { processes: 400 }")
	keeper := chief.done("spawn keeper processes=30 test.v1.Kin/One")
	adopted := chief.done("spawn keeper adopted processes=30 test.v1.Kin/One")
	branch := chief.done("spawn branch")
	r.await(r.since, "the leaf of the twig of the branch", func(k *audit.Record) bool { return k.Event == audit.EventSpawned && k.Domain == "leaf#1" })
	list := chief.done("list")
	for _, way := range append(slices.Clone(outlived), killing{name: "upgrade"}) {
		before := r.domains()
		at := r.killsAll(way.roles...)
		for _, name := range []string{keeper, adopted} {
			r.await(at, way.name+": an allowed call of "+name, called(name, audit.Allow, "One"))
			r.await(at, way.name+": a denied call of "+name, called(name, audit.Deny, "Two"))
		}
		r.sameDomains(before)
		after := r.domains()
		for name, b := range before {
			if a := after[name]; b.Child != nil && (a.Child == nil || a.Parent != b.Parent || a.Adopted != b.Adopted || strings.Join(a.Rights, " ") != strings.Join(b.Rights, " ")) {
				t.Errorf("%s: %s was %+v and is %+v", way.name, name, b.Child, a.Child)
			}
		}
		if got := chief.done("list"); got != list {
			t.Errorf("%s: the chief had %q and has %q", way.name, list, got)
		}
		// Quotas are taken as before, and come back once.
		chief.refused("the parent has 260 left", "spawn keeper processes=261")
		leaf := chief.done("spawn leaf")
		last := chief.done("spawn leaf")
		chief.refused("which is the limit", "spawn leaf")
		for _, name := range []string{leaf, last} {
			chief.done("kill", name)
			if got := chief.done("wait", name); got != "137" {
				t.Errorf("%s: the status of %s is %s", way.name, name, got)
			}
		}
	}
	at := time.Now()
	chief.done("kill", branch)
	if got := chief.done("wait", branch); got != "137" {
		t.Errorf("the status of %s is %s", branch, got)
	}
	r.ended("twig#1")
	r.ended("leaf#1")
	// Who may outlive its parent does, after the kills as before.
	r.kills(r.domains()["chief"].PID)
	r.ended(keeper)
	r.await(time.Now(), "a call of who was adopted", called(adopted, audit.Allow, "One"))
	r.await(at, "the end of the chief", func(k *audit.Record) bool { return k.Event == audit.EventEnded && k.Domain == "chief" })
	at = r.killsAll("monitor", "creator")
	r.await(at, "an allowed call of who was adopted", called(adopted, audit.Allow, "One"))
	r.await(at, "a denied call of who was adopted", called(adopted, audit.Deny, "Two"))
	r.ends()
	ended := map[string]int{}
	for _, rec := range r.records() {
		if rec.Event == audit.EventEnded {
			ended[rec.Domain]++
		}
	}
	for name, n := range ended {
		if n != 1 {
			t.Errorf("%s has ended %d times", name, n)
		}
	}
}

// TestAttackRightsAfterKill: what of a right was used up, taken back, or is over
// does not come back when those are killed who know it. The controls: without a
// kill as many uses are admitted; and whoever is lent something, or has another
// bucket, uses it after the kill.
func TestAttackRightsAfterKill(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 6 }")
	uses := func(delegation int) (n int) {
		for _, k := range r.records() {
			if k.Event == audit.EventCall && k.Verdict == audit.Allow && strings.Contains(k.Detail, fmt.Sprintf("delegation %d", delegation)) {
				n++
			}
		}
		return n
	}
	use := func(delegation int) func(*audit.Record) bool {
		return func(k *audit.Record) bool {
			return k.Event == audit.EventCall && k.Verdict == audit.Allow && strings.Contains(k.Detail, fmt.Sprintf("delegation %d", delegation))
		}
	}
	denied := func(from string) func(*audit.Record) bool { return called(from, audit.Deny, "One") }
	borrower := chief.done("spawn borrower")
	const count = 60
	// The control: nobody is killed.
	chief.done("loan plain", borrower, count, "1h")
	r.await(r.since, "a use too many", denied(borrower))
	if n := uses(1); n != count {
		t.Errorf("without a kill %d uses of %d", n, count)
	}
	counter := chief.done("spawn counter test.v1.Kin/One")
	r.await(r.since, "a call too many", denied(counter))

	for i, way := range []killing{outlived[0], outlived[2]} {
		second := chief.done("spawn borrower")
		loan := fmt.Sprint("loan", i)
		at := time.Now()
		chief.done("loan", loan, second, count, "1h")
		r.await(at, "a use of the delegation", use(i*3+2))
		killed := r.killsAll(way.roles...)
		r.await(killed, way.name+": a use too many", denied(second))
		again := r.killsAll(way.roles...)
		r.await(again, way.name+": another use too many", denied(second))
		if n := uses(i*3 + 2); n != count {
			t.Errorf("%s: %d uses of %d", way.name, n, count)
		}
		// One that is taken back while it is used.
		at = time.Now()
		chief.done("loan taken", second, 0, "1h")
		r.await(at, "a use of the second delegation", use(i*3+3))
		chief.done("revoke taken")
		back := r.killsAll(way.roles...)
		r.await(back, way.name+": an attempt by what was taken back", denied(second))
		for _, k := range r.records() {
			if use(i*3+3)(&k) && k.Time.After(back) {
				t.Errorf("%s: what was taken back was used after that: %+v", way.name, k)
				break
			}
		}
		// The control: what is lent now is used. Its time is over after a kill, too.
		at = time.Now()
		chief.done("loan short", second, 0, "2s")
		r.await(at, "a use of the third delegation", use(i*3+4))
		r.killsAll(way.roles...)
		over := r.await(at, way.name+": the end of its time", func(k *audit.Record) bool {
			return k.Event == audit.EventLentEnded && strings.Contains(k.Detail, fmt.Sprintf("delegation %d:", i*3+4))
		})
		if !strings.Contains(over.Detail, "its time is over") {
			t.Errorf("%s: %s", way.name, over.Detail)
		}
		chief.done("kill", second)
		chief.done("wait", second)
	}
	n := 0
	for _, k := range r.records() {
		if called(counter, audit.Allow, "One")(&k) {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d calls were admitted of one that may call three times an hour", n)
	}
	at := time.Now()
	other := chief.done("spawn counter test.v1.Kin/One")
	r.await(at, "a call by another bucket", called(other, audit.Allow, "One"))
	r.ends()
}

// TestSpawnWhileKilled: children are made, killed and waited for while monitor
// and creator are killed at any moment: each is made once, each end is told
// once, and nothing of a quota is lost.
func TestSpawnWhileKilled(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 2 }, quota: { processes: 200 }")
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	killed, churned := make(chan struct{}), make(chan int, 1)
	other := r.attacker("chief")
	statuses := []any{137}
	if !tellsExits(t) {
		statuses = append(statuses, unseenStatus)
	}
	go func() {
		made := 0
		defer func() { churned <- made }()
		for {
			if got := other.try(append([]any{"churn leaf", 2}, statuses...)...); got != "done" {
				t.Errorf("making children: %s", got)
				return
			}
			made += 2
			select {
			case <-killed:
				return
			default:
			}
		}
	}()
	for range 12 { // fewer than deaths in a row that end a system
		r.killsAll(outlived[random.IntN(len(outlived))].roles...)
		<-time.After(time.Duration(random.IntN(150)) * time.Millisecond) // to a random moment
	}
	close(killed)
	t.Logf("%d children made meanwhile", <-churned)
	if got := chief.done("list"); got != "" {
		t.Errorf("children are left: %s", got)
	}
	chief.done("spawn leaf processes=40")
	last := chief.done("spawn counter processes=60")
	chief.refused("which is the limit", "spawn leaf")
	chief.done("kill", last)
	chief.done("wait", last)
	chief.refused("the parent has 160 left", "spawn counter processes=161")
	names, running := map[string]int{}, 0
	unseen := map[string]bool{}
	for _, k := range r.records() {
		if k.Event == audit.EventNotice && strings.Contains(k.Detail, "whoever saw how has died") {
			unseen[k.Domain] = true
		}
		if k.Event == audit.EventEnded && strings.HasPrefix(k.Domain, "leaf#") {
			names[k.Domain]++
			if unknown := *k.Status == unseenStatus; unknown != unseen[k.Domain] {
				t.Errorf("%s has ended with the status %d, and a notice says that nobody saw how: %v", k.Domain, *k.Status, unseen[k.Domain])
			}
		}
	}
	for name, n := range names {
		if n > 1 {
			t.Errorf("%s has ended %d times", name, n)
		}
	}
	for _, d := range r.domains() {
		if d.Child != nil && d.State == admin.Running {
			running++
		}
	}
	if running != 1 {
		t.Errorf("%d children run, want one", running)
	}
	r.ends()
}

// unseenStatus is the status of what ended while nobody was there to see how, on a
// kernel that does not tell later (docs/survival.md).
const unseenStatus = 255

// tellsExits reports whether the kernel tells how a process ended that others have
// waited for: PIDFD_INFO_EXIT, Linux 6.15.
func tellsExits(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Stdout, cmd.Stderr = nil, nil
	var fd int
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err := unix.IoctlPidfdInfo(fd, &info)
	return err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

// TestChildEndsMeanwhile: a child, or its parent, ends while nobody is there to
// see it; it is told all the same, with its status.
func TestChildEndsMeanwhile(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 4, depth: 3, tree: 8 }")
	for _, way := range outlived {
		leaf, branch := chief.done("spawn leaf"), chief.done("spawn branch")
		twig := "twig#" + strings.TrimPrefix(branch, "branch#")
		r.await(r.since, "the twig", func(k *audit.Record) bool { return k.Event == audit.EventSpawned && k.Domain == twig })
		before := r.domains()
		pidfds := []int{}
		for _, name := range []string{leaf, branch} {
			fd := pidfdOf(t, before[name].PID)
			pidfds = append(pidfds, int(fd.Fd()))
		}
		was := r.wholly()
		for _, role := range way.roles {
			r.kills(was[role])
		}
		for _, fd := range pidfds {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
				t.Fatal(err)
			}
		}
		for _, name := range []string{leaf, branch} {
			if got := chief.done("wait", name); got != "137" {
				t.Errorf("%s: the status of %s is %s", way.name, name, got)
			}
		}
		r.ended(twig)
		for _, role := range way.roles {
			r.comesBack(role, was[role])
		}
		if got := chief.done("list"); got != "" {
			t.Errorf("%s: left are %s", way.name, got)
		}
		for left := true; left; { // the leaf of the twig ends last
			left = false
			for _, d := range r.domains() {
				left = left || d.Child != nil && d.State == admin.Running
			}
			if t.Context().Err() != nil {
				t.FailNow()
			}
		}
	}
	r.ends()
}
