package main

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// described is what `ward ps DOMAIN` is told.
func (r *running) described(name string) admin.Domain {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := admin.Describe(ctx, r.dir, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// until waits for a condition.
func (r *running) until(what string, condition func() bool) {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatal(what)
		}
	}
}

// quotaRecords counts the records of a quota of a domain.
func (r *running) quotaRecords(domain, quota string) (n int) {
	for _, rec := range r.records() {
		if rec.Event == audit.EventQuota && rec.Domain == domain && strings.HasPrefix(rec.Detail, quota+":") {
			n++
		}
	}
	return n
}

const standers = attackers + `
  small: { program: HOSTILE, SMALL, exports: [{interface: test.v1.Hostile, socket: RUN/small.sock}] }
  large: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/large.sock}] }
`

// TestStandingIsRecorded: who exceeds a quota of which the kernel tells nobody gets a
// clear error, and the audit a record: one, as long as it stands there, though
// monitor and creator are followed by others, and another when it comes back. Its
// neighbours do not notice, and have no record. The control: with more of a quota the
// same program has more.
func TestStandingIsRecorded(t *testing.T) {
	for _, c := range []struct{ what, small, quota, why string }{
		{"files", "quota: { files: 300 }", "files", "EMFILE"},
		{"tmp", "tmp: 256KiB", "tmp", "ENOSPC"},
		{"tmpfiles", "tmp: 256KiB", "tmp", "ENOSPC"},
		{"filesize", "quota: { file_size: 64KiB }", "file_size", "EFBIG"},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := upOf(t, attackSystem, strings.Replace(standers, "SMALL", c.small, 1))
			r.report(lifeline.Ready)
			small, large := r.attacker("small"), r.attacker("large")
			records := func() int { return r.quotaRecords("small", c.quota) }
			// It leaves and comes back: one record more.
			comesBack := func() {
				t.Helper()
				before := records()
				small.done("giveback")
				r.until("it is not noticed that it leaves", func() bool { return len(r.described("small").Descriptor.Hits.Now) == 0 })
				small.done("take", c.what)
				r.until("it is not recorded that it comes back", func() bool { return records() > before })
				if got := records(); got != before+1 {
					t.Errorf("%d records, %d before", got, before)
				}
			}
			got := small.done("take", c.what)
			if !strings.HasSuffix(got, " "+c.why) {
				t.Errorf("it is told %q, want %s", got, c.why)
			}
			r.await(r.since, "a record of the quota", func(rec *audit.Record) bool {
				return rec.Event == audit.EventQuota && rec.Domain == "small" && strings.HasPrefix(rec.Detail, c.quota+":")
			})
			if more := large.done("take", c.what); many(t, more) <= many(t, got) {
				t.Errorf("control: with the default it has %s, with less %s", more, got)
			}
			large.done("giveback")
			r.await(time.Now(), "an allowed call of others", isCall(audit.Allow, "hello"))
			d := r.described("small")
			if h := d.Descriptor.Hits; h.Files+h.FileSize+h.Tmp == 0 {
				t.Errorf("ward ps is not told: %+v", h)
			}
			if c.what == "filesize" { // a thread says it once
				return
			}
			comesBack()
			before := records()
			for _, role := range []string{"creator", "monitor", "creator"} {
				was := r.processes()[role]
				r.kills(was)
				r.comesBack(role, was)
			}
			// What the last creator says of it, it has said when it says that it left.
			comesBack()
			if got := records(); got != before+1 {
				t.Errorf("%d records, %d before the deaths", got, before)
			}
			if n := r.quotaRecords("mallory", c.quota) + r.quotaRecords("server", c.quota); n != 0 {
				t.Errorf("%d records of neighbours", n)
			}
		})
	}
}

// TestTraffic: `ward ps DOMAIN` shows what waits on the gates of a domain, on both
// sides, and how much of its quota of messages is used. The controls: before there is
// nothing, and after an answer and a read there is less.
func TestTraffic(t *testing.T) {
	r := upOf(t, attackSystem, strings.Replace(attackers, "mallory: { program: HOSTILE,", "mallory: { program: HOSTILE, quota: { messages: 40 },", 1))
	r.report(lifeline.Ready)
	mallory, trent := r.attacker("mallory"), r.attacker("trent")
	trent.done("serve", "test.v1.Sink")
	end, _ := mallory.open("test.v1.Sink", "trent")
	trent.done("await", 1)
	m, s := r.described("mallory").Descriptor.Traffic, r.described("trent").Descriptor.Traffic
	if m.Calls.All != 0 || s.Answers.All != 0 || m.Queued.All != 0 || m.Messages == nil || s.Messages != nil {
		t.Errorf("control: %+v, %+v", m, s)
	}
	if m.Calls.Limit != abi.Slots || m.Queued.Limit == 0 {
		t.Errorf("limits: %+v, %+v", m.Calls, m.Queued)
	}
	for i := range 2 {
		mallory.done("send", end, packet(abi.Header{Kind: abi.KindCall, Slot: uint16(i), Gen: 1}, text("hello")))
	}
	m, s = r.described("mallory").Descriptor.Traffic, r.described("trent").Descriptor.Traffic
	gate := admin.Gate{Interface: "test.v1.Sink", From: "mallory", To: "trent"}
	for _, c := range []struct {
		what string
		w    *admin.Backlog
	}{{"calls", m.Calls}, {"answers", s.Answers}} {
		if c.w.All != 2 || c.w.Most != 2 || c.w.Gate == nil || *c.w.Gate != gate {
			t.Errorf("%s: %+v", c.what, c.w)
		}
	}
	if m.Queued.Most == 0 || m.Queued.Gate == nil || *m.Queued.Gate != gate || s.Unread.Most != m.Queued.Most {
		t.Errorf("queued: %+v, unread: %+v", m.Queued, s.Unread)
	}
	queued := m.Queued.All
	for range 2 {
		trent.done("receive", 0)
	}
	trent.done("send", 0, packet(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 1}, nil))
	m, s = r.described("mallory").Descriptor.Traffic, r.described("trent").Descriptor.Traffic
	if m.Calls.All != 1 || s.Answers.All != 1 {
		t.Errorf("after one answer: %+v, %+v", m.Calls, s.Answers)
	}
	if m.Queued.All >= queued || s.Queued.All == 0 {
		t.Errorf("after all was read: %+v; the answer is not read: %+v", m.Queued, s.Queued)
	}

	used := func() uint64 { return *r.described("mallory").Descriptor.Traffic.Messages }
	r.until("it has not all of its messages again", func() bool { return used() == 0 })
	names, _ := mallory.open("ward.v1.Names", "")
	n := 0
	r.until("it has sent dozens of messages, and none counts", func() bool {
		n++
		mallory.done("fill", names, namesLookup, n, hex.EncodeToString(text("test.v1.Echo")))
		now := used()
		if now > 40 {
			t.Fatalf("%d of 40", now)
		}
		return now > 0
	})
	r.until("it does not get them back", func() bool { return used() == 0 })
}
