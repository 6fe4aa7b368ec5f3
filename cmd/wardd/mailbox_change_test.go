package main

import (
	"path/filepath"
	"strings"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

// TestMailboxChild: a child posts what its template's policy and its parent's
// permit, and nothing else; it reads no mailbox, and nobody lends the right to post.
func TestMailboxChild(t *testing.T) {
	needsRoot(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	r := upOf(t, mail("family"), strings.ReplaceAll(`
  parent: { program: FAMILY, args: [postparent], children: { number: 1 } }
  poster: { program: FAMILY, args: [postchild], template: true }
  reader: { program: PROBE, args: [mail], exports: [{interface: test.v1.Hostile, socket: RUN/reader.sock}] }
objects:
  box: { kind: mailbox, interface: test.v1.Letters }
`, "FAMILY", filepath.Join(bin, "family")))
	r.report(lifeline.Ready)
	if m := r.says("parent", `the child ended with (\d+)`); m[1] != "0" {
		t.Errorf("the child ended with %s", m[1])
	}
	r.attacker("reader").takes("poster#1:both")
	r.await(r.since, "the child's letter", func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "poster#1" && rec.To == "box" && rec.Verdict == audit.Allow
	})
	r.ends()
}

// TestMailboxReload: a writer that may no longer write is refused from then on,
// and what it has posted is read; it posts again when it may. The reader stays
// while it runs. Another shape of the interface ends what waits, which is told.
func TestMailboxReload(t *testing.T) {
	r := upOf(t, mail("policy"), mailDomains)
	r.report(lifeline.Ready)
	writer, other, reader := r.attacker("writer"), r.attacker("other"), r.attacker("reader")
	writer.posts(0, 3)
	other.done("post", "x")
	change := func(files []string) {
		t.Helper()
		if _, err := r.reload(files, mailDomains); err != nil {
			t.Fatal(err)
		}
	}
	change(mail("none"))
	writer.refused("forbidden by policy", "post", "3")
	writer.refused("writer no longer", "post", "3") // and the next gate, too
	other.done("post", "y")
	reader.takes("writer:0", "writer:1", "writer:2", "other:x", "other:y") // that gate is closed, so all of it comes first

	change(mail("policy"))
	writer.posts(4, 6)
	if _, err := r.reload(mail("moved"), mailDomains); err == nil || !strings.Contains(err.Error(), "reader (that it reads the mailbox box)") {
		t.Errorf("another reader while the first runs: %v", err)
	}
	reader.takes("writer:4")

	another := mail("policy")
	another[1] = "testdata/mail/letters2.proto"
	change(another)
	r.await(r.since, "what is given up", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && rec.Domain == "box" && strings.Contains(rec.Detail, "test.v1.Letters has changed") && strings.Contains(rec.Detail, "that writer had posted are given up")
	})
	writer.posts(6, 8) // by another gate
	pid := r.domains()["reader"].PID
	r.kills(pid)
	for r.runs("reader") == pid {
	}
	r.attacker("reader").takes("writer:6", "writer:7")
	if m := r.mailbox(); m.Waiting != 0 || m.Writers != 1 { // other has not come back
		t.Errorf("%+v", m)
	}
	r.ends()
}

// TestMailboxComes: a reload brings a mailbox, to domains that run; it does not
// take it from a reader that runs.
func TestMailboxComes(t *testing.T) {
	domains, _, _ := strings.Cut(mailDomains, "objects:")
	r := upOf(t, mail("bare"), domains)
	r.report(lifeline.Ready)
	writer, reader := r.attacker("writer"), r.attacker("reader")
	writer.refused("", "post", "0")
	reader.refused("default deny", "take", 1)
	if _, err := r.reload(mail("policy"), mailDomains); err != nil {
		t.Fatal(err)
	}
	writer.posts(1, 4)
	reader.takes("writer:1", "writer:2")
	pid := r.processes()["monitor"]
	r.kills(pid)
	r.comesBack("monitor", pid)
	writer.posts(4, 5)
	if _, err := r.reload(mail("bare"), domains); err == nil || !strings.Contains(err.Error(), "reader (that it reads the mailbox box)") {
		t.Errorf("the mailbox goes while it is read: %v", err)
	}
	reader.takes("writer:3", "writer:4")
	r.ends()
}
