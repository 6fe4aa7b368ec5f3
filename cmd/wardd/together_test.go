package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ward/abi"
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
// processes of wardd are killed at any moment, and others call. After each kill what
// decides is the policy that is said to be in force, on the gate that was open all
// the time and on a new one.
func TestReloadWhileKilled(t *testing.T) {
	files := func(policy string) []string {
		return append(attackSystem[:len(attackSystem):len(attackSystem)], "testdata/live/all"+policy+".cedar")
	}
	domains := attackers + "  other: { program: PROBE, args: [alternate, server], needs: [server] }\n"
	r := upOf(t, files("a"), domains)
	r.report(lifeline.Ready)
	mallory := r.attacker("mallory")
	open, _ := mallory.open("test.v1.Echo", "server")
	before := r.domains()
	images := map[string]*image.Image{"a": compiled(t, r.bin, r.name, files("a"), strings.ReplaceAll(domains, "RUN", r.dir)),
		"b": compiled(t, r.bin, r.name, files("b"), strings.ReplaceAll(domains, "RUN", r.dir))}
	calls := uint16(0)
	// What is decided on a gate is decided by the policy that is said to be in force.
	obeys := func(when, policy string, end int) {
		t.Helper()
		for _, said := range []string{"a", "b"} {
			calls++
			got := mallory.try("send", end, packet(abi.Header{Kind: abi.KindCall, Slot: calls % abi.Slots, Gen: calls}, text(said)))
			admitted := strings.HasPrefix(got, "done")
			if admitted {
				mallory.receives(end) // the slot is free again
			}
			if admitted != (said == policy) {
				t.Errorf("%s: %s is in force, and %q: %s", when, policy, said, got)
			}
		}
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
		was := r.wholly()
		dying := [][]string{{"monitor"}, {"creator"}, {"monitor", "creator"}, {"monitor", "audit"}, {"monitor", "creator", "audit"}, {"creator", "audit"}}[random.IntN(6)]
		var pidfds []*os.File
		for _, role := range dying {
			pidfds = append(pidfds, pidfdOf(t, was[role]))
		}
		r.atOnce(pidfds...)
		for _, role := range dying {
			r.comesBack(role, was[role])
		}
		close(killed)
		changing.Wait()
		now := r.settled()
		when := fmt.Sprintf("round %d, %s", round, strings.Join(dying, ", "))
		obeys(when, now, open)
		fresh, _ := mallory.open("test.v1.Echo", "server")
		obeys(when+", a new gate", now, fresh)
		r.sameDomains(before)
	}
	t.Logf("%d changes made, of %d nobody knows whether they were; the system has the policy of one", made, unknown)
	if made == 0 {
		t.Error("no change was made")
	}
	r.endsButOrders()
	for _, rec := range r.records() {
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
			for _, rec := range r.records() {
				if rec.Event != audit.EventCall && rec.Event != audit.EventReply && rec.Event != audit.EventGate {
					r.t.Logf("%v %s %s%s %s %s%s %s", rec.Time, rec.Event, rec.Domain, rec.From, rec.To, rec.Verdict, rec.Reason, rec.Detail)
				}
			}
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
