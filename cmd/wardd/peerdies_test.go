package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
)

// TestServerKilled: a server's process is killed while calls of two clients are
// pending: each learns it at once, and by the code Unavailable, as does what it
// calls next. The control is that both calls were pending until then.
func TestServerKilled(t *testing.T) {
	r := upOf(t, live("wait"), waitingDomains)
	r.report(lifeline.Ready)
	r.says("server", `called\n(?s:.*)called`)
	for _, client := range []string{"client", "other"} {
		if b, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, client)); strings.Contains(string(b), "pending") {
			t.Fatalf("control: the call of %s was not pending: %s", client, b)
		}
	}
	at := time.Now()
	r.kills(r.domainPID("server"))
	for _, client := range []string{"client", "other"} {
		r.says(client, `pending: unavailable: `)
		r.says(client, `next: unavailable: `)
	}
	ended := r.await(at, "the end of the server", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "server" })
	if ended.Status == nil || *ended.Status != 128+9 {
		t.Errorf("record of its end: %+v", ended)
	}
}

// TestClientKilled: a client's process is killed while its call is pending: the
// handler's context ends, and the other client's call goes on.
func TestClientKilled(t *testing.T) {
	r := upOf(t, live("wait"), waitingDomains)
	r.report(lifeline.Ready)
	r.says("server", `called\n(?s:.*)called`)
	r.kills(r.domainPID("client"))
	r.says("server", `cancelled: context canceled`)
	if b, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, "server")); strings.Count(string(b), "cancelled") != 1 {
		t.Errorf("the handlers of others ended, too: %s", b)
	}
	if b, _ := os.ReadFile(filepath.Join(r.dir, audit.LogDir, "other")); strings.Contains(string(b), "pending") {
		t.Errorf("the call of another client ended: %s", b)
	}
}
