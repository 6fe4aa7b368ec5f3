package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// Mailboxes in whole systems. writer and other post, reader reads, each when the
// test tells it (testdata/probe/mail.go).

const mailDomains = `
  writer: { program: PROBE, args: [mail], restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/writer.sock}] }
  other: { program: PROBE, args: [mail], exports: [{interface: test.v1.Hostile, socket: RUN/other.sock}] }
  reader: { program: PROBE, args: [mail], restart: always, exports: [{interface: test.v1.Hostile, socket: RUN/reader.sock}] }
objects:
  box: { kind: mailbox, interface: test.v1.Letters }
`

// mail are the files of a system with one of the policies of testdata/mail.
func mail(policy string) []string {
	return []string{"testdata/attack/attack.proto", "testdata/mail/letters.proto", "testdata/mail/" + policy + ".cedar"}
}

// mailbox is what `ward ps` shows of it.
func (r *running) mailbox() *admin.Mailbox {
	r.t.Helper()
	d := r.domains()["box"]
	if d.State != admin.Mail || d.Mailbox == nil || d.PID != 0 {
		r.t.Fatalf("the mailbox: %+v", d)
	}
	return d.Mailbox
}

// takes lets the reader take just so many letters as are wanted.
func (a *attacker) takes(want ...string) {
	a.t.Helper()
	if got := a.done("take", len(want)); got != strings.Join(want, " ") {
		a.t.Fatalf("%s took %q, want %q", a.name, got, want)
	}
}

// numbered are letters of a writer.
func numbered(writer string, from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s:%d", writer, i))
	}
	return all
}

// posts lets a writer post numbers.
func (a *attacker) posts(from, to int) {
	a.t.Helper()
	order := []any{"post"}
	for i := from; i < to; i++ {
		order = append(order, i)
	}
	a.done(order...)
}

// TestMailboxWaits: what is posted while the reader does not run, and the
// monitor dies, is there when it starts, in order.
func TestMailboxWaits(t *testing.T) {
	r := upOf(t, mail("idle"), mailDomains)
	r.report(lifeline.Ready)
	writer := r.attacker("writer")
	writer.posts(0, 60) // the queue has room for more
	before := r.mailbox()
	if before.Writers != 1 || before.Waiting == 0 || before.Reader != "reader" || before.Reading || before.Interface != "test.v1.Letters" {
		t.Errorf("%+v", before)
	}
	monitor := r.processes()["monitor"]
	r.kills(monitor)
	writer.posts(60, 80) // nobody needs to be there
	r.comesBack("monitor", monitor)
	if after := r.mailbox(); after.Writers != 1 || after.Waiting <= before.Waiting {
		t.Errorf("before the monitor died %+v, after it %+v", before, after)
	}
	writer.posts(80, 100)
	if _, err := r.reload(mail("policy"), mailDomains); err != nil {
		t.Fatal(err)
	}
	r.runs("reader")
	r.attacker("reader").takes(numbered("writer", 0, 100)...)
	if m := r.mailbox(); m.Waiting != 0 || !m.Reading {
		t.Errorf("%+v", m)
	}
	r.await(r.since, "a record of a letter", func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "writer" && rec.To == "box" && rec.Verdict == audit.Allow &&
			rec.Policy == "writers may post what is not secret" && rec.Params["text"] == "99"
	})
	r.ends()
}

// TestMailboxOutlives: the reader is killed, and ends in the middle of a letter;
// the monitor is killed in between; writers are killed, too: of each writer
// everything comes once and in order but for the one letter that was taken.
func TestMailboxOutlives(t *testing.T) {
	r := upOf(t, mail("policy"), mailDomains)
	r.report(lifeline.Ready)
	writer, other, reader := r.attacker("writer"), r.attacker("other"), r.attacker("reader")
	writer.posts(0, 10)
	reader.takes(numbered("writer", 0, 3)...)

	next := func(name string, end func(pid int)) *attacker {
		pid := r.domains()[name].PID
		end(pid)
		for r.runs(name) == pid {
		}
		return r.attacker(name)
	}
	monitor := func() {
		pid := r.processes()["monitor"]
		r.kills(pid)
		r.comesBack("monitor", pid)
	}
	reader = next("reader", r.kills)
	reader.takes(numbered("writer", 3, 5)...)

	monitor()
	reader.takes("writer:5") // by what it asks anew of the next monitor
	other.posts(0, 2)        // a gate that the next monitor opens
	reader = next("reader", func(pid int) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := reader.c.Invoke(ctx, "Do", text("die"), nil); err == nil {
			t.Error("it takes a letter and lives")
		}
	})
	// It took one letter, of either: that one is gone, all others are there.
	counts := map[string][]string{}
	for _, got := range strings.Fields(reader.done("take", 5)) {
		from, text, _ := strings.Cut(got, ":")
		counts[from] = append(counts[from], text)
	}
	w, o := strings.Join(counts["writer"], " "), strings.Join(counts["other"], " ")
	if !(w == "7 8 9" && o == "0 1" || w == "6 7 8 9" && o == "1") {
		t.Errorf("of writer %q, of other %q", w, o)
	}

	// A writer's next process does not overtake it, whoever dies meanwhile.
	writer.posts(10, 20)
	writer = next("writer", r.kills)
	writer.posts(20, 30)
	monitor()
	reader = next("reader", r.kills)
	writer.posts(30, 40)
	reader.takes(numbered("writer", 10, 40)...)
	// The gate that the writer's first process left is closed when it is empty.
	limit := time.Now().Add(patience)
	for d := r.domains()["box"]; d.Gates != 2; d = r.domains()["box"] {
		if time.Now().After(limit) {
			t.Fatalf("the mailbox holds %d gates: %+v", d.Gates, d.Mailbox)
		}
	}
	r.ends()
}
