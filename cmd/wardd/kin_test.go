package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/kernel"
	"ward/monitor/admin"
)

// Tests of children on whole systems: parents that do what the test tells them
// (testdata/family/boss.go).

var kinSystem = []string{"testdata/system/kin.proto", "testdata/system/kin.cedar"}

// kinDomains are the server and all that children are made of.
const kinDomains = `
  server: { program: FAMILY, args: [kin], exports: [test.v1.Kin] }
  teller: { program: FAMILY, args: [tell], template: true }
  keeper: { program: FAMILY, args: [stay], template: true }
  forker: { program: FAMILY, args: [fork], template: true, root: host }
  bomber: { program: FAMILY, args: [bomb], template: true, root: host }
  leaf: { program: FAMILY, args: [rest], template: true }
  twig: { program: FAMILY, args: [nest, leaf], template: true, children: { number: 1, depth: 3, tree: 9 } }
  branch: { program: FAMILY, args: [nest, twig], template: true, children: { number: 1, depth: 3, tree: 9 } }
`

// A bossLine describes a parent; more is what else system.yaml says of it.
func bossLine(name, more string) string {
	return "  " + name + ": { program: FAMILY, args: [boss], needs: [server], restart: never, exports: [{interface: test.v1.Orders, socket: RUN/" + name + ".sock}], " + more + " }\n"
}

// familyProgram builds the program of these domains, once.
var familyProgram = sync.OnceValues(func() (string, error) {
	bin, err := programs()
	if err != nil || os.Getenv(builtEnv) != "" {
		return filepath.Join(bin, "family"), err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "family"), "ward/cmd/wardd/testdata/family")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return filepath.Join(bin, "family"), nil
})

// upKin starts a system with parents, and returns their bosses, in order.
func upKin(t *testing.T, lines string, bosses ...string) (r *running, all []*attacker) {
	t.Helper()
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	r = upOf(t, kinSystem, strings.ReplaceAll(kinDomains+lines, "FAMILY", family))
	r.report(lifeline.Ready)
	for _, name := range bosses {
		all = append(all, r.attacker(name))
	}
	return r, all
}

// ended waits for the end of a child.
func (r *running) ended(name string) audit.Record {
	r.t.Helper()
	return r.await(r.since, "the end of "+name, func(k *audit.Record) bool { return k.Event == audit.EventEnded && k.Domain == name })
}

// TestAttackInherit: a child has what it was given and what its parent's `inherit`
// says, and no more; also a copy of the parent itself. `ps` says the same.
func TestAttackInherit(t *testing.T) {
	r, bosses := upKin(t, bossLine("nothing", "children: { number: 5 }")+bossLine("listed", "children: { number: 4 }, inherit: [test.v1.Kin/Two]")+
		bossLine("everything", "children: { number: 4 }, inherit: all"), "nothing", "listed", "everything")
	for i, test := range []struct{ spawn, want string }{
		{"teller", "may call:"},
		{"teller test.v1.Kin/One", "may call: One"},
		{"teller test.v1.Kin/One test.v1.Kin/Two", "may call: One Two"}, // the control: with the right it takes effect
		{"self test.v1.Kin/Two", "may call: Two"},
		{"teller", "may call: Two"},
		{"teller test.v1.Kin/One", "may call: One Two"},
		{"self", "may call: Two"},
		{"teller", "may call: One Two"},
		{"self", "may call: One Two"},
	} {
		boss := bosses[[]int{0, 0, 0, 0, 1, 1, 1, 2, 2}[i]]
		name := boss.done("spawn", test.spawn)
		if got := r.says(name, `(may call:[^.]*)\.`)[1]; got != test.want {
			t.Errorf("%s, spawn %s: it %s, want %s", boss.name, test.spawn, got, test.want)
		}
		d := r.domains()[name]
		if d.Child == nil || d.Parent != boss.name || d.MayCall < len(strings.Fields(test.want))-2 || !strings.HasSuffix(test.want, rightsIn(d.Rights)) {
			t.Errorf("ps of %s: %+v, want %s of %s", name, d, test.want, boss.name)
		}
	}
	for _, who := range bosses {
		who.refused("no entry point", "spawn teller test.v1.Kin/Three")
		who.refused("no right", "spawn teller test.v1.Orders/Do")
	}
}

// rightsIn are the methods of Kin in a list of rights, as `tell` writes them.
func rightsIn(rights []string) (said string) {
	for _, e := range rights {
		if method, ok := strings.CutPrefix(e, "test.v1.Kin/"); ok {
			said += " " + method
		}
	}
	return said
}

// TestAttackNumbers: no more children, generations and descendants than the
// system says, each beside the last one that there may be.
func TestAttackNumbers(t *testing.T) {
	r, bosses := upKin(t, bossLine("boss", "children: { number: 3, depth: 2, tree: 4 }")+bossLine("other", ""), "boss", "other")
	boss, other := bosses[0], bosses[1]
	other.refused("may have no children", "spawn leaf")
	twig := boss.done("spawn twig")
	r.says(twig, `has a child`)
	branch := boss.done("spawn branch") // its twig is in the last generation, and gets no leaf
	r.says(branch, `has a child`)
	r.says("twig#2", `no child: .*last generation`)
	if got := boss.done("list"); got != branch+"+1 "+twig+"+1" {
		t.Errorf("list: %s", got)
	}
	boss.refused("descendants, which is the limit", "spawn leaf")
	boss.done("kill", branch)
	if got := boss.done("wait", branch); got != "137" {
		t.Errorf("%s was killed, and its status is %s", branch, got)
	}
	r.ended("twig#2") // the whole tree of it is gone
	leaf := boss.done("spawn leaf")
	boss.done("spawn teller")
	boss.refused("3 children, which is the limit", "spawn leaf")
	boss.done("kill", leaf)
	boss.done("wait", leaf)
	boss.done("spawn leaf")
	boss.refused("no such child", "kill", leaf)
}

// TestAttackChildFork: a process of a child that has left its session and its
// parent ends with the child all the same.
func TestAttackChildFork(t *testing.T) {
	r, bosses := upKin(t, bossLine("boss", "children: { number: 2 }, root: host"), "boss")
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	// The control: outside, what was started so outlives who started it.
	plain := exec.Command(family, "forked", "begin")
	out, err := plain.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Start(); err != nil {
		t.Fatal(err)
	}
	var second int
	if _, err := fmt.Fscanf(out, "escaped %d", &second); err != nil {
		t.Fatal(err)
	}
	escaped := pidfdOf(t, second)
	plain.Process.Kill()
	plain.Wait()
	if hasEnded(escaped) {
		t.Error("without a domain it ended with who started it")
	}
	unix.PidfdSendSignal(int(escaped.Fd()), unix.SIGKILL, nil, 0)

	name := bosses[0].done("spawn forker")
	r.says(name, "escaped")
	uid := r.domains()[name].UID
	processes := processesOf(t, uid)
	if len(processes) < 2 {
		t.Fatalf("%s has %d processes; one of them has escaped", name, len(processes))
	}
	bosses[0].done("kill", name)
	bosses[0].done("wait", name)
	r.gone(processes)
	if left := processesOf(t, uid); len(left) > 0 {
		t.Errorf("%d processes of %s are left", len(left), name)
	}
}

// processesOf opens all processes of a user. One that ends meanwhile is none.
func processesOf(t *testing.T, uid uint32) (files []*os.File) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(fd), e.Name())
		t.Cleanup(func() { f.Close() })
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err == nil && strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", uid)) && !hasEnded(f) {
			files = append(files, f)
		}
	}
	return files
}

func pidfdOf(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), strconv.Itoa(pid))
	t.Cleanup(func() { f.Close() })
	return f
}

// hasEnded reports whether a process has ended.
func hasEnded(pidfd *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// TestAttackAdoption: who may outlive its parent does, and is judged as before;
// who may not does not, whatever it asked for.
func TestAttackAdoption(t *testing.T) {
	r, bosses := upKin(t, bossLine("boss", "children: { number: 4, depth: 2 }"), "boss")
	boss := bosses[0]
	boss.refused("outlive", "spawn leaf adopted")
	keeper := boss.done("spawn keeper adopted test.v1.Kin/One")
	plain := boss.done("spawn keeper test.v1.Kin/One") // a policy would let it, but nobody asked
	leaf := boss.done("spawn leaf test.v1.Kin/One")
	before := r.domains()
	if d := before[keeper]; d.State != admin.Running || !d.Adopted || before[plain].Adopted {
		t.Fatalf("before: %+v, %+v", d, before[plain])
	}
	gone := pidfdOf(t, before["boss"].PID)
	if err := unix.PidfdSendSignal(int(gone.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	r.ended(plain)
	r.ended(leaf)
	since := r.ended("boss").Time
	call := func(verdict, method string) func(*audit.Record) bool {
		return func(k *audit.Record) bool {
			return k.Event == audit.EventCall && k.From == keeper && k.Method == "test.v1.Kin/"+method && k.Verdict == verdict
		}
	}
	r.await(since, "a call of who was adopted", call(audit.Allow, "One"))
	r.await(since, "a denied call of who was adopted", call(audit.Deny, "Two"))
	after := r.domains()
	if d := after[keeper]; d.State != admin.Running || d.PID != before[keeper].PID || d.Parent != "boss" {
		t.Errorf("after: %+v", d)
	}
	for _, name := range []string{plain, leaf} {
		if _, ok := after[name]; ok {
			t.Errorf("%s outlives its parent", name)
		}
	}
}

// TestAttackChildQuota: what a child gets is taken from its parent's quota, and
// comes back when it has ended; what it has is enforced.
func TestAttackChildQuota(t *testing.T) {
	r, bosses := upKin(t, bossLine("boss", "children: { number: 4 }, root: host, quota: { processes: 200, memory: 600MiB }"), "boss")
	boss := bosses[0]
	plain := boss.done("spawn leaf") // nobody says what it has: a fifth, as there may be four
	if c, err := admin.Describe(t.Context(), r.dir, plain); err != nil || c.Descriptor.Quota.Processes != 40 || c.Descriptor.Quota.Memory != 120<<20 || c.Descriptor.Quota.Gates != 102 {
		t.Errorf("ps of a child whose quota is not stated: %+v, %v", c.Descriptor, err)
	}
	boss.done("kill", plain)
	boss.done("wait", plain)
	boss.refused("the parent has 200 left", "spawn leaf processes=201 memory=67108864")
	first := boss.done("spawn leaf processes=30 memory=134217728")
	boss.refused("the parent has 170 left", "spawn leaf processes=171 memory=67108864")
	boss.refused("bytes of memory", "spawn leaf processes=10 memory=536870912")
	boss.refused("would have too little left", "spawn leaf processes=170 memory=67108864")
	second := boss.done("spawn leaf processes=120 memory=268435456")
	boss.refused("the parent has 50 left", "spawn leaf processes=51 memory=67108864")
	d, err := admin.Describe(t.Context(), r.dir, "boss")
	if err != nil || d.Descriptor.Children == nil || d.Descriptor.Children.Given.Processes != 150 || d.Descriptor.Children.Given.Memory != 384<<20 || d.Descriptor.Quota.Processes != 50 {
		t.Errorf("ps of the parent: %+v, %v", d.Descriptor, err)
	}
	limits := func(name string) kernel.CgroupLimits {
		t.Helper()
		u, err := kernel.UseOf(r.domains()[name].PID)
		if err != nil {
			t.Fatal(err)
		}
		return u.Limits
	}
	if got := limits("boss"); got.Processes != 50 || got.Memory != 216<<20 {
		t.Errorf("the kernel lets the parent have %+v beside its children", got)
	}
	child, err := admin.Describe(t.Context(), r.dir, second)
	if err != nil || child.Descriptor.Quota.Processes != 120 || limits(second).Processes != 120 {
		t.Errorf("ps of the child: %+v, %v", child.Descriptor, err)
	}
	for _, name := range []string{first, second} {
		boss.done("kill", name)
		boss.done("wait", name)
	}
	if got := limits("boss"); got.Processes != 200 || got.Memory != 600<<20 {
		t.Errorf("the kernel lets the parent have %+v without children", got)
	}
	narrow := boss.done("spawn bomber processes=30 memory=134217728")
	r.says(narrow, `has \d+ of 12|runtime`) // Go's runtime ends a process that gets no thread
	hit := r.await(r.since, "that the narrow one ran into its quota", func(k *audit.Record) bool { return k.Event == audit.EventQuota && k.Domain == narrow })
	if !strings.Contains(hit.Detail, "at most 30 ") {
		t.Errorf("what the audit says of it: %s", hit.Detail)
	}
	boss.try("kill", narrow)
	boss.done("wait", narrow)
	r.says(boss.done("spawn bomber processes=150 memory=268435456"), `has 12 of 12`) // the control
}

// TestAttackOthersChild: who is not the parent ends no child, and neither takes
// a delegation back nor uses one that is not his.
func TestAttackOthersChild(t *testing.T) {
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	r := upOf(t, append([]string{"testdata/attack/attack.proto", "testdata/attack/mallory.cedar"}, kinSystem...),
		strings.ReplaceAll(kinDomains+bossLine("boss", "children: { number: 2 }"), "FAMILY", family)+
			"  mallory: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/mallory.sock}], children: { number: 1 } }\n")
	r.report(lifeline.Ready)
	boss, mallory := r.attacker("boss"), r.attacker("mallory")
	name := boss.done("spawn teller")
	r.says(name, "may call")
	number := r.domains()[name].Index
	boss.done("lend", name)
	mallory.refused("no such child", "killchild", number)
	mallory.refused("no such delegation", "takeback", 1)
	mallory.refused("no such delegation", "borrow", 1)
	if own := mallory.done("spawn leaf"); own != "leaf#1" { // the control: what is its own it makes, and ends
		t.Errorf("its own child: %s", own)
	}
	mallory.refused("no such child", "killchild", number)
	mallory.done("killchild", r.domains()["leaf#1"].Index)
	r.ended("leaf#1")
	if d := r.domains()[name]; d.State != admin.Running {
		t.Errorf("the boss's child: %+v", d)
	}
	boss.done("kill", name)
	r.ended(name)
}
