package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

const restartingDomains = `  server: {program: PROBE, args: [server], exports: [test.v1.Echo]}
  client: {program: PROBE, args: [idle], restart: always}
state:
  level: {per: domain, values: [low, high], initial: low, moves: {low: [high]}}
`

// level is the state of the domain of that name.
func (r *running) level(domain string) *admin.State {
	r.t.Helper()
	all, err := admin.States(context.Background(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s admin.State) bool { return s.Name == "level" && s.Domain == domain })
	if i < 0 {
		r.t.Fatalf("no level of %s: %+v", domain, all)
	}
	return &all[i]
}

// A domain that ends and is started again has its states' initial values; the
// states of others stay.
func TestRestartBeginsState(t *testing.T) {
	r := upOf(t, live("level"), restartingDomains)
	r.report(lifeline.Ready)
	_, hash := r.image()
	for _, domain := range []string{"client", "server"} {
		if s := r.level(domain); s.Value != "low" {
			t.Fatalf("%s begins %+v", domain, s)
		}
		now, err := admin.SetState(context.Background(), r.dir, hash, r.level(domain), 1, false)
		if err != nil || now.Value != "high" {
			t.Fatalf("%s becomes %+v, %v", domain, now, err)
		}
	}
	first := r.await(r.since, "the start", func(k *audit.Record) bool { return k.Event == audit.EventStarted && k.Domain == "client" })
	client, err := os.FindProcess(int(first.PID)) // by a pidfd: nobody else's process
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await(r.since, "the start after that", func(k *audit.Record) bool {
		return k.Event == audit.EventStarted && k.Domain == "client" && k.PID != first.PID
	})
	if s := r.level("client"); s.Value != "low" {
		t.Errorf("after the restart the client is %+v", s)
	}
	if s := r.level("server"); s.Value != "high" {
		t.Errorf("after the restart of the client the server is %+v", s)
	}
}

const userDomains = `  server:
    program: PROBE
    args: [hang]
    exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}]
`

// A gate of a user outside that the new policy forbids dies with a clear error,
// with its pending call, and there is no other one.
func TestReloadClosesGatesOfUsers(t *testing.T) {
	r := upOf(t, live("user"), userDomains)
	r.report(lifeline.Ready)
	said := make(chan string)
	go func() { said <- r.outside(nobody, "stay", r.dir+"/echo.sock") }()
	r.says("server", `called`)
	changed, err := r.reload(live("usernever"), userDomains)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed.Closed) != 1 || changed.Closed[0].From != "user:nobody" || changed.Closed[0].Policy != "no users any more" {
		t.Errorf("closed gates: %+v", changed.Closed)
	}
	// The user is told what connecting again says, too.
	const revoked = `permission denied: the gate for test.v1.Echo was revoked: the policy no longer allows it: forbidden by "no users any more"`
	got := <-said
	for _, want := range []string{"pending: " + revoked, "next: " + revoked, "open: permission denied: ", `forbidden by policy "no users any more"`} {
		if !strings.Contains(got, want) {
			t.Errorf("the user is not told %q, but:\n%s", want, got)
		}
	}
	r.says("server", `cancelled: context canceled`)
	r.says("server", `because: permission denied: the gate for test.v1.Echo was revoked: the policy no longer allows it: forbidden by "no users any more"`)
	closed := r.await(r.since, "a closed gate", func(k *audit.Record) bool { return k.Event == audit.EventClosed })
	if closed.From != "user:nobody" || closed.Policy != "no users any more" {
		t.Errorf("record of the closed gate: %+v", closed)
	}
}

const twoServers = `  alpha: {program: PROBE, args: [server], exports: [test.v1.Echo]}
  omega: {program: PROBE, args: [server], exports: [test.v1.Echo]}
`

const theirClients = `  first: {program: PROBE, args: [greet]}
  second: {program: PROBE, args: [greet]}
`

// Of several servers of an interface, a client that names none gets the one
// that the policy lets it call. The clients come when both servers are published.
func TestOpenChoosesPermittedServer(t *testing.T) {
	r := upOf(t, live("none"), twoServers)
	r.report(lifeline.Ready)
	for _, server := range []string{"alpha", "omega"} {
		r.await(r.since, "that "+server+" is published", func(k *audit.Record) bool {
			return k.Event == audit.EventReply && k.To == server && k.Method == "ward.v1.Names/Publish"
		})
	}
	if _, err := r.reload(live("own"), twoServers+theirClients); err != nil {
		t.Fatal(err)
	}
	for client, server := range map[string]string{"first": "alpha", "second": "omega"} {
		k := r.await(r.since, "a call of "+client, func(k *audit.Record) bool {
			return k.Event == audit.EventCall && k.From == client && k.Method == "test.v1.Echo/Say"
		})
		if k.To != server || k.Verdict != audit.Allow {
			t.Errorf("%s calls %+v", client, k)
		}
	}
}
