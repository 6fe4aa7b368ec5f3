package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

const loadedDomains = `  server:
    program: PROBE
    args: [count]
    exports: [test.v1.Echo]
  client:
    program: PROBE
    args: [load]
    needs: [server]
    once: true
`

// live are the files of a system with one of the policies of testdata/live.
func live(policy string) []string {
	return []string{"testdata/system/echo.proto", "testdata/live/" + policy + ".cedar"}
}

// running image of a system, and its hash.
func (r *running) image() (*image.Image, string) {
	r.t.Helper()
	encoded, err := admin.Image(context.Background(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	img, err := image.Decode(encoded)
	if err != nil {
		r.t.Fatal(err)
	}
	return img, image.Hash(encoded)
}

// reload puts another version of the system into force.
func (r *running) reload(files []string, domains string) (*admin.Changed, error) {
	r.t.Helper()
	fresh := compiled(r.t, r.bin, r.name, files, strings.ReplaceAll(domains, "RUN", r.dir))
	was, hash := r.image()
	img, err := image.Align(was, fresh)
	if err != nil {
		return nil, err
	}
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		r.t.Fatal(err)
	}
	defer sealed.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	return (&admin.Change{Kind: admin.Reload, Running: hash, Image: sealed}).Ask(ctx, r.dir)
}

// says waits until a domain has written a line that matches.
func (r *running) says(domain, pattern string) []string {
	r.t.Helper()
	expr := regexp.MustCompile(pattern)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, domain))
		if m := expr.FindStringSubmatch(string(b)); m != nil {
			return m
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("%s does not say %q, but %q", domain, pattern, b)
		}
	}
}

// Calls go on while the policy changes a hundred times: each has one answer, of
// one of the two policies.
func TestReloadUnderLoad(t *testing.T) {
	r := upOf(t, live("a"), loadedDomains)
	r.report(lifeline.Ready)
	r.await(r.since, "a first call", func(k *audit.Record) bool { return k.Event == audit.EventCall })
	for i := range 100 {
		changed, err := r.reload(live([]string{"b", "a"}[i%2]), loadedDomains)
		if err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		if changed.Gates < 1 || len(changed.Closed) > 0 {
			t.Fatalf("reload %d: %+v", i, changed)
		}
	}
	if _, err := r.reload(live("stop"), loadedDomains); err != nil {
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
	for _, k := range r.records() {
		if k.Event == audit.EventCall && k.Verdict == audit.Allow && strings.HasPrefix(k.Policy, "only ") && k.Params != nil && k.Params["text"] != strings.TrimPrefix(k.Policy, "only ") {
			t.Fatalf("a record of a policy that did not decide: %+v", k)
		}
	}
}

const waitingDomains = `  server:
    program: PROBE
    args: [hang]
    exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}]
  client:
    program: PROBE
    args: [wait]
    needs: [server]
  other:
    program: PROBE
    args: [wait]
    needs: [server]
`

// A gate that the new policy forbids dies with a clear error on both sides, and
// so do the calls that are pending on it. Other gates go on.
func TestReloadClosesGates(t *testing.T) {
	r := upOf(t, live("wait"), waitingDomains)
	r.report(lifeline.Ready)
	r.says("server", `called\n(?s:.*)called`)
	changed, err := r.reload(live("never"), waitingDomains)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed.Closed) != 1 || changed.Closed[0].From != "client" || changed.Closed[0].Policy != "no longer" {
		t.Errorf("closed gates: %+v", changed.Closed)
	}
	// Always with the reason, though the server's end is closed at the same time.
	revoked := `the gate for test.v1.Echo was revoked: the policy no longer allows it: forbidden by "no longer"`
	r.says("client", `pending: permission denied: `+revoked)
	r.says("client", `next: permission denied: `+revoked)
	r.says("client", `open: permission denied: .*forbidden by policy "no longer"`)
	r.says("server", `cancelled: context canceled`)
	r.says("server", `because: permission denied: `+revoked)
	closed := r.await(r.since, "a closed gate", func(k *audit.Record) bool { return k.Event == audit.EventClosed })
	if closed.From != "client" || closed.To != "server" || closed.Policy != "no longer" || closed.Interface != "test.v1.Echo" {
		t.Errorf("record of the closed gate: %+v", closed)
	}
	if b, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, "other")); strings.Contains(string(b), "pending") {
		t.Errorf("another gate was closed, too: %s", b)
	}
	rec := r.await(r.since, "the reload", func(k *audit.Record) bool { return k.Event == audit.EventReload })
	if rec.Hash != changed.Hash || rec.UID == nil || *rec.UID != 0 {
		t.Errorf("record of the reload: %+v", rec)
	}
}

// Domains come and go with a reload; the user IDs of the others stay.
func TestReloadDomains(t *testing.T) {
	const first = `  server: {program: PROBE, args: [server], exports: [test.v1.Echo]}
  client: {program: PROBE, args: [idle]}
  staying: {program: PROBE, args: [idle]}
`
	const second = `  coming: {program: PROBE, args: [greet], needs: [server]}
  server: {program: PROBE, args: [server], exports: [test.v1.Echo]}
  staying: {program: PROBE, args: [idle]}
`
	r := upOf(t, live("greet"), first)
	r.report(lifeline.Ready)
	uids := func() map[string]admin.Domain {
		all, err := admin.PS(context.Background(), r.dir)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]admin.Domain{}
		for _, d := range all {
			byName[d.Name] = d
		}
		return byName
	}
	before := uids()
	changed, err := r.reload(live("greet"), second)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed.Started) != 1 || changed.Started[0] != "coming" || len(changed.Stopped) != 1 || changed.Stopped[0] != "client" {
		t.Errorf("started %v, stopped %v", changed.Started, changed.Stopped)
	}
	after := uids()
	if after["client"].State != admin.Ended || after["coming"].State != admin.Running {
		t.Errorf("client is %s, coming is %s", after["client"].State, after["coming"].State)
	}
	for _, name := range []string{"server", "staying"} {
		if before[name].PID != after[name].PID || before[name].UID != after[name].UID {
			t.Errorf("%s was %+v and is %+v", name, before[name], after[name])
		}
	}
	for _, name := range []string{"server", "staying", "client"} {
		if after["coming"].UID == before[name].UID {
			t.Errorf("coming has the user ID of %s", name)
		}
	}
	greeted := r.await(r.since, "a call of the new domain", func(k *audit.Record) bool { return k.Event == audit.EventCall && k.From == "coming" })
	if greeted.Verdict != audit.Allow || greeted.To != "server" {
		t.Errorf("its call: %+v", greeted)
	}
	// What cannot change live is refused, and nothing has changed.
	_, hash := r.image()
	_, err = r.reload(live("greet"), strings.Replace(second, "args: [idle]", "args: [idle, more]", 1))
	if err == nil || !strings.Contains(err.Error(), "staying (args)") {
		t.Errorf("a domain with other arguments: %v", err)
	}
	if _, now := r.image(); now != hash {
		t.Error("a reload that was refused has changed the image")
	}
	// The way back: the domain that went comes again, in its place.
	if changed, err = r.reload(live("greet"), first); err != nil {
		t.Fatal(err)
	}
	if again := uids(); again["client"].State != admin.Running || again["client"].UID != before["client"].UID || again["coming"].State != admin.Ended {
		t.Errorf("after the way back: %+v (%+v)", again, changed)
	}
}
