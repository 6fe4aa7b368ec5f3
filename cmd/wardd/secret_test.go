package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit"
	"ward/holder/lifeline"
	"ward/kernel"
)

// Secret memory in whole systems: keeper makes keys, and frames, which are not
// secret; other is its neighbour; hog makes more than it may have memory. All speak
// to the monitor and the kernel by hand, and a policy lets all open all objects.

const secretDomains = `
  keeper: { program: HOSTILE, restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/keeper.sock}] }
  other: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/other.sock}, test.v1.Frames] }
`

const secretObjects = `
objects:
  keys: { kind: memory, secret: true, count: 4 }
  frames: { kind: memory, size: 4KiB, count: 4 }
`

func upSecret(t *testing.T, lines string, more ...string) *running {
	t.Helper()
	if errors.Is(kernel.SecretMemory(), kernel.ErrNoSecretMemory) {
		t.Skip("needs memfd_secret: Linux 6.5, or secretmem.enable=1")
	}
	r := upOf(t, append(memoryFiles("secret"), more...), lines)
	r.report(lifeline.Ready)
	return r
}

// addressOf is where a process has mapped a file.
func addressOf(t *testing.T, pid int, name string) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if from, _, _ := strings.Cut(line, "-"); strings.Contains(line, name) {
			at, err := strconv.ParseUint(from, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	t.Fatalf("process %d has mapped nothing of %s", pid, name)
	return 0
}

// lookInto reads a process's memory as root can.
var lookInto = map[string]func(pid int, at uint64) (string, error){
	"/proc/PID/mem": func(pid int, at uint64) (string, error) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return "", err
		}
		defer f.Close()
		b := make([]byte, 8)
		_, err = f.ReadAt(b, int64(at))
		return string(b), err
	},
	"process_vm_readv": func(pid int, at uint64) (string, error) {
		b := make([]byte, 8)
		local := unix.Iovec{Base: &b[0]}
		local.SetLen(len(b))
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(at), Len: 8}}, 0)
		return string(b), err
	},
}

// TestAttackSecret: root does not read a domain's secret memory, and no other
// domain comes by it; neither does its maker give it away, or make it without the
// monitor. The controls: its other memory, in the same ways; and what may be given.
func TestAttackSecret(t *testing.T) {
	r := upSecret(t, secretDomains+secretObjects)
	keeper, other := r.attacker("keeper"), r.attacker("other")
	pid := r.domains()["keeper"].PID
	ref, fd := keeper.two("makesecret", "keys", 0)
	n := keeper.done("hide", fd, "a-secret")
	frame, plain := keeper.two("make", "frames", 4096)
	keeper.done("hide", plain, "ordinary")
	secret := addressOf(t, pid, "/secretmem")
	ordinary := addressOf(t, pid, "/memfd:ward object frames")
	for name, look := range lookInto {
		if got, err := look(pid, ordinary); err != nil || got != "ordinary" {
			t.Errorf("control: %s of other memory: %q, %v", name, got, err)
		}
		if got, err := look(pid, secret); err == nil || !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EFAULT) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}

	gate, _ := keeper.open2(other, "test.v1.Frames", "other", 1)
	for _, access := range []uint8{abi.AccessRead, abi.AccessRead | abi.AccessWrite} {
		keeper.refused("only who made it", "offer", ref, gate, access)
	}
	keeper.done("offer", frame, gate, abi.AccessRead|abi.AccessWrite) // the control
	_, again := keeper.two("makesecret", "keys", 0)
	keeper.refused("", "sendfd", gate, again)
	other.refused("default deny", "makesecret", "keys", 0)
	other.refused("default deny", "openobject", "keys", abi.AccessRead)
	other.refused("no object", "offer", ref, 0, abi.AccessRead)
	keeper.refused("secret", "make", "keys", 0)
	keeper.refused("not secret", "makesecret", "frames", 0)
	for _, a := range []*attacker{keeper, other} {
		a.refused("operation not permitted", "secretfile")
	}
	if got := keeper.done("hidden", n); got != "a-secret" {
		t.Errorf("the keeper reads %q", got)
	}
	r.object("that other may not make any", func(rec *audit.Record) bool {
		return rec.Domain == "other" && rec.Object == "keys" && rec.Kind == "make" && rec.Verdict == audit.Deny
	})
	r.object("the making", func(rec *audit.Record) bool {
		return rec.Domain == "keeper" && rec.Object == "keys" && rec.Kind == "make" && rec.Access == "create" && rec.Verdict == audit.Allow && rec.Policy == "the keeper makes keys and frames"
	})
	r.ends()
}

// secretFiles counts the descriptors of secret memory that a process has.
func secretFiles(pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, _ := os.Readlink(dir + e.Name()); strings.Contains(to, "/secretmem") {
			n++
		}
	}
	return n
}

// TestSecretIsItsMakers: once its maker has it, no process of wardd has secret
// memory, before and after each has died; the maker keeps it, counted, as long as
// its process lives, and may lock what that takes.
func TestSecretIsItsMakers(t *testing.T) {
	r := upSecret(t, secretDomains+secretObjects)
	keeper := r.attacker("keeper")
	pid := r.domains()["keeper"].PID
	_, fd := keeper.two("makesecret", "keys", 0)
	if secretFiles(pid) != 1 {
		t.Errorf("control: the keeper has %d", secretFiles(pid))
	}
	n := keeper.done("hide", fd, "a-secret")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if want := fmt.Sprint("Max locked memory         ", kernel.DefaultLocked+4*os.Getpagesize(), " "); err != nil || !strings.Contains(string(limits), want) {
		t.Errorf("%v; want %q in\n%s", err, want, limits)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), "VmLck:\t       4 kB") {
		t.Errorf("%v: locked is not what is mapped:\n%s", err, status)
	}

	full := func(made string) {
		t.Helper()
		if got := keeper.done("makesecrets", 10, "keys"); !strings.HasPrefix(got, made+" ") || !strings.Contains(got, "4 instances") {
			t.Errorf("made: %q, want %s", got, made)
		}
	}
	full("3")
	keeper.done("unhide") // of which nobody knows
	full("0")
	for _, way := range []killing{{"monitor", []string{"monitor"}}, {"creator and monitor", []string{"creator", "monitor"}}, {name: "upgrade"}} {
		r.killsAll(way.roles...)
		full("0")
		r.nobodyHas()
	}
	r.kills(pid)
	for r.runs("keeper") == pid {
	}
	keeper = r.attacker("keeper")
	full("4")
	if got := keeper.done("hidden", n); got != "one" { // all of it is new
		t.Errorf("the next keeper reads %q", got)
	}
	r.nobodyHas()
	r.ends()
}

// nobodyHas waits until no process of wardd has secret memory: the holder hears
// of it from the monitor, after the answer.
func (r *running) nobodyHas() {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		has := map[string]int{}
		for role, pid := range r.wholly() {
			if n := secretFiles(pid); n > 0 {
				has[role] = n
			}
		}
		if n := secretFiles(r.cmd.Process.Pid); n > 0 {
			has["holder"] = n
		}
		if len(has) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("descriptors of secret memory: %v", has)
		}
	}
}

// TestAttackSecretHog: pages of secret memory are memory of who touches them, which
// its quota bounds. The control: what is not touched, and what is unmapped.
func TestAttackSecretHog(t *testing.T) {
	if have, err := kernel.CgroupControllers(); err != nil || have["memory"] == "" {
		t.Skip("needs a memory controller in a mounted hierarchy: mount -t cgroup -o memory none DIRECTORY")
	}
	const piles, pile = 3, 2 << 20    // with what all may lock, less than most hosts let root lock
	const least = piles*pile - pile/2 // what else it has may become less
	r := upSecret(t, secretDomains+`
  hog: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/hog.sock}] }
`+secretObjects+`
  piles: { kind: memory, secret: true, size: 2MiB, count: 3 }
`, "testdata/memory/hog.cedar")
	hog, pid := r.attacker("hog"), r.domains()["hog"].PID
	uses := func() uint64 {
		t.Helper()
		u, err := kernel.UseOf(pid)
		if err != nil || u.Memory == nil {
			t.Fatalf("what the hog uses is not known: %v", err)
		}
		return *u.Memory
	}
	before := uses()
	var list []string
	for range piles {
		_, fd := hog.two("makesecret", "piles", 0)
		list = append(list, hog.done("hide", fd, "pile"))
	}
	if n := uses(); n > before+pile { // the control
		t.Errorf("before it is touched it takes %d bytes", n-before)
	}
	for _, n := range list {
		hog.done("fill_memory", n)
	}
	if n := uses(); n < before+least {
		t.Errorf("%d bytes take %d", piles*pile, n-before)
	}
	hog.done("unhide")
	if n := uses(); n > before+pile {
		t.Errorf("when it is unmapped it takes %d bytes", n-before)
	}
	r.ends()
}
