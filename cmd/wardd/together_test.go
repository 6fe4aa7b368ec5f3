package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// Processes of wardd, and the name server, that are killed in the same moment, and
// again before what came in their place has taken over.

// killable are the processes that may die, by role.
func (r *running) killable() map[string]*os.File {
	r.t.Helper()
	all := map[string]*os.File{}
	for role, pid := range r.wholly() {
		all[role] = pidfdOf(r.t, pid)
	}
	all["names"] = pidfdOf(r.t, r.runs("names"))
	return all
}

// TestKillsTogether: any two, three, or all of monitor, creator, audit writer and
// name server are killed in the same moment, under load; some again right when
// another one is there. No call is lost or unchecked, no record is lost or there
// twice, no domain is started again, and they all come back.
func TestKillsTogether(t *testing.T) {
	const number = 4
	r := upOf(t, peersCall, peerDomains(number))
	r.report(lifeline.Ready)
	ctx, cancel := context.WithCancel(context.Background())
	s := &seen{last: map[string]time.Time{}, changed: make(chan struct{})}
	followed := make(chan error, 1)
	go func() { followed <- s.follow(ctx, r) }()
	defer cancel()
	s.after(t, "gate", r.since)
	before := r.domains()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	roles := []string{"monitor", "creator", "audit", "names"}
	for subset := range 1 << len(roles) {
		var dying []string
		for i, role := range roles {
			if subset>>i&1 == 1 {
				dying = append(dying, role)
			}
		}
		if len(dying) < 2 {
			continue
		}
		was := r.wholly()
		alive := r.killable()
		var pidfds []*os.File
		for _, role := range dying {
			pidfds = append(pidfds, alive[role])
		}
		at := time.Now()
		r.atOnce(pidfds...)
		again := ""
		if one := dying[random.IntN(len(dying))]; one != "names" { // and its successor, which may be anywhere in taking over
			pid := r.comesBack(one, was[one])
			<-time.After(time.Duration(random.IntN(30)) * time.Millisecond) // to a random moment
			r.kills(pid)
			was[one], again = pid, ", and the "+one+" again"
		}
		t.Logf("killed: %s%s", strings.Join(dying, ", "), again)
		for _, role := range dying {
			if role == "names" {
				at = s.after(t, "published", s.after(t, "ended", at))
			} else {
				r.comesBack(role, was[role])
			}
		}
		at = s.after(t, "gate", at)
		s.after(t, audit.Allow, at)
		s.after(t, audit.Deny, at)
		r.sameDomains(before, "names")
	}
	for name, d := range r.domains() {
		if d.State != admin.Running {
			log, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, name))
			t.Errorf("%s: %s %s: %s", name, d.State, d.Exit, tail(log))
		}
	}
	r.ends()
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if len(s.unpassed) > 0 {
		t.Errorf("passed unchecked: %+v", s.unpassed[0])
	}
	r.exact()
}

// tryReload puts another version of the system into force, of which nobody may
// know whether that was done: whoever was asked may die.
func (r *running) tryReload(img *image.Image) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	encoded, err := admin.Image(ctx, r.dir)
	if err != nil {
		return err
	}
	was, err := image.Decode(encoded)
	if err != nil {
		return err
	}
	if img, err = image.Align(was, img); err != nil {
		return err
	}
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		return err
	}
	defer sealed.Close()
	_, err = (&admin.Change{Kind: admin.Reload, Running: image.Hash(encoded), Image: sealed}).Ask(ctx, r.dir)
	return err
}

// TestReloadWhileKilled: the policy changes all the time, between two, while
// processes of wardd are killed at any moment, under load: each call has one
// answer, of one of the two policies. After each kill what decides is the policy
// that is said to be in force, on gates that were open and on new ones.
func TestReloadWhileKilled(t *testing.T) {
	files := func(policy string) []string {
		return []string{"testdata/system/echo.proto", "testdata/live/all" + policy + ".cedar"}
	}
	domains := loadedDomains + "  second: { program: PROBE, args: [server], exports: [test.v1.Echo] }\n  other: { program: PROBE, args: [alternate, second], needs: [second] }\n"
	r := upOf(t, files("a"), domains)
	r.report(lifeline.Ready)
	r.await(r.since, "a first call", func(k *audit.Record) bool { return k.Event == audit.EventCall && k.From == "client" })
	before := r.domains()
	images := map[string]*image.Image{}
	for _, policy := range []string{"a", "b", "stop"} {
		images[policy] = compiled(t, r.bin, r.name, files(policy), domains)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	made, unknown := 0, 0
	for round := range 12 {
		killed := make(chan struct{})
		var changing sync.WaitGroup
		changing.Go(func() {
			for i := 0; ; i++ {
				if err := r.tryReload(images[string("ab"[i%2])]); err == nil {
					made++
				} else {
					unknown++
				}
				select {
				case <-killed:
					return
				default:
				}
			}
		})
		<-time.After(time.Duration(random.IntN(60)) * time.Millisecond) // to a random moment
		was, alive := r.wholly(), r.killable()
		var dying []string
		for _, role := range [][]string{{"monitor"}, {"creator"}, {"monitor", "creator"}, {"monitor", "audit"}, {"monitor", "creator", "audit"}, {"creator", "audit"}}[random.IntN(6)] {
			dying = append(dying, role)
		}
		var pidfds []*os.File
		for _, role := range dying {
			pidfds = append(pidfds, alive[role])
		}
		r.atOnce(pidfds...)
		for _, role := range dying {
			r.comesBack(role, was[role])
		}
		close(killed)
		changing.Wait()
		now := r.settled()
		r.obeys(fmt.Sprintf("round %d, %s", round, strings.Join(dying, ", ")), now)
		r.sameDomains(before)
	}
	t.Logf("%d changes made, of %d nobody knows whether they were; the system has the policy of one", made, unknown)
	if made == 0 {
		t.Error("no change was made")
	}
	if err := r.tryReload(images["stop"]); err != nil {
		t.Fatal(err)
	}
	m := r.says("client", `sent (\d+) admitted (\d+) denied (\d+) unpoliced (\d+) odd (\d+) served (\d+)`)
	var n [6]int
	for i := range n {
		fmt.Sscan(m[i+1], &n[i])
	}
	sent, admitted, denied, unpoliced, odd, served := n[0], n[1], n[2], n[3], n[4], n[5]
	t.Log(m[0])
	if sent != admitted+denied || unpoliced > 0 || odd > 0 || served != admitted || admitted == 0 || denied == 0 {
		t.Errorf("%s", m[0])
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := r.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, r.stderr)
	}
	r.leftovers()
	for i, rec := range r.records() {
		if rec.Seq != uint64(i+1) {
			t.Fatalf("record %d has number %d", i+1, rec.Seq)
		}
		text, _ := rec.Params["text"].(string)
		if rec.Event == audit.EventCall && rec.Verdict == audit.Allow && strings.HasPrefix(rec.Policy, "only ") && text != strings.TrimPrefix(rec.Policy, "only ") {
			t.Fatalf("a record of a policy that did not decide: %+v", rec)
		}
	}
}

// settled waits until no change is on its way any more, one that a monitor had
// begun and its successor makes again included, and returns the policy in force: a or b.
func (r *running) settled() string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		encoded, err := admin.Image(ctx, r.dir)
		if err == nil {
			// One that changes nothing is made after those that are on their way.
			var sealed *os.File
			if sealed, err = link.Seal(encoded); err == nil {
				_, err = (&admin.Change{Kind: admin.Reload, Running: image.Hash(encoded), Image: sealed}).Ask(ctx, r.dir)
				sealed.Close()
			}
			if err == nil {
				return r.only(encoded)
			}
		}
		if ctx.Err() != nil {
			r.t.Fatalf("the system does not settle: %v", err)
		}
		<-time.After(time.Millisecond)
	}
}

// only is what the permits of an image permit to say. Policies that are no longer in
// force keep their numbers in it.
func (r *running) only(encoded []byte) (said string) {
	r.t.Helper()
	img, err := image.Decode(encoded)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, route := range img.Routes {
		for _, m := range route.Methods {
			for _, rule := range m.Request.Permit {
				if id, ok := strings.CutPrefix(img.Policies[rule.Policy].ID, "only "); ok {
					said = id
				}
			}
		}
	}
	return said
}

// obeys checks that what is decided from now on, on gates that are open and on new
// ones, is decided by the policy that is said to be in force.
func (r *running) obeys(when, policy string) {
	r.t.Helper()
	at := time.Now()
	for _, from := range []string{"client", "other"} { // other has a new gate for each call
		for text, verdict := range map[string]string{policy: audit.Allow, string("ab"["ba"[0]-policy[0]]): audit.Deny} {
			got := r.await(at, fmt.Sprintf("%s: a call %q of %s", when, text, from), func(k *audit.Record) bool {
				return k.Event == audit.EventCall && k.From == from && k.Params["text"] == text
			})
			if got.Verdict != verdict {
				r.t.Errorf("%s: %s in force, and %q of %s: %s (%s%s)", when, policy, text, from, got.Verdict, got.Policy, got.Reason)
			}
		}
	}
}
