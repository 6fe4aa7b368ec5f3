package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ward/audit"
)

// peersCall are systems of domains that call each other and number what they say.
var peersCall = []string{"testdata/system/echo.proto", "testdata/kills/policy.cedar"}

// peerDomains are so many domains, each of which serves and calls the next one.
func peerDomains(number int) string {
	var b strings.Builder
	for i := range number {
		fmt.Fprintf(&b, "  d%d: { program: PROBE, args: [peer, %v, d%d], exports: [test.v1.Echo] }\n", i, pace, (i+1)%number)
	}
	return b.String()
}

// isPeer reports whether a domain is one of peerDomains.
func isPeer(name string) bool { return strings.HasPrefix(name, "d") }

// saidSecret reports whether a record is of what must not pass.
func saidSecret(rec *audit.Record) bool {
	text, _ := rec.Params["text"].(string)
	return strings.HasPrefix(text, "secret ")
}

// A heard is how often the audit log has what a peer said, by peer and text.
type heard map[string]map[string]int

// take takes a record. A call that passed and should not have, or the other way
// round, is an error.
func (h heard) take(rec *audit.Record) error {
	text, _ := rec.Params["text"].(string)
	want := audit.Allow
	switch {
	case rec.Event != audit.EventCall:
		return nil
	case saidSecret(rec):
		want = audit.Deny
	case !strings.HasPrefix(text, "call "):
		return nil
	}
	if rec.Verdict != want {
		return fmt.Errorf("%s said %q: %s (%s%s)", rec.From, text, rec.Verdict, rec.Policy, rec.Reason)
	}
	if h[rec.From] == nil {
		h[rec.From] = map[string]int{}
	}
	h[rec.From][text]++
	return nil
}

// check compares it with what a peer says that it said: of everything there is one
// record. What is missing must be told as lost, of this sender. Of what came after
// the last call that was answered, one may be there.
func (h heard) check(from string, said int, lost uint64) error {
	missing := uint64(0)
	for _, kind := range []string{"call", "secret"} {
		last := said
		if h[from][fmt.Sprint(kind, " ", said+1)] > 0 {
			last++
		}
		found := 0
		for i := 1; i <= last; i++ {
			switch n := h[from][fmt.Sprint(kind, " ", i)]; n {
			case 0:
				missing++
			case 1:
				found++
			default:
				return fmt.Errorf("%q of %s is in the audit log %d times", fmt.Sprint(kind, " ", i), from, n)
			}
		}
		for text, n := range h[from] {
			if rest, ok := strings.CutPrefix(text, kind+" "); ok {
				if i, err := strconv.Atoi(rest); err != nil || i < 1 || i > last {
					return fmt.Errorf("%s, which said %d, said %q (%d times)", from, said, text, n)
				}
			}
		}
	}
	if missing > lost {
		return fmt.Errorf("%d of what %s said is not in the audit log, which tells of %d lost", missing, from, lost)
	}
	return nil
}

// once checks that the start and the end of each process is recorded once, and the
// start of each that has ended, whoever was killed meanwhile.
func (r *running) once(all []audit.Record) {
	r.t.Helper()
	type life struct {
		domain string
		pid    uint32
	}
	started, ended := map[life]int{}, map[life]int{}
	for _, rec := range all {
		l := life{rec.Domain, rec.PID}
		switch {
		case rec.Verdict == audit.Deny:
		case rec.Event == audit.EventStarted, rec.Event == audit.EventSpawned:
			started[l]++
		case rec.Event == audit.EventEnded:
			ended[l]++
		}
	}
	for l, n := range started {
		if n != 1 || ended[l] > 1 {
			r.t.Errorf("%s, process %d: the start is recorded %d times, the end %d times", l.domain, l.pid, n, ended[l])
		}
	}
	for l := range ended {
		if started[l] == 0 {
			r.t.Errorf("%s, process %d: the end is recorded, and no start", l.domain, l.pid)
		}
	}
}

// last is the number of the last call of a peer that must have been answered.
func (h heard) last(from string) int {
	n := 0
	for text := range h[from] {
		if rest, ok := strings.CutPrefix(text, "call "); ok {
			i, _ := strconv.Atoi(rest) // of another text: check finds it
			n = max(n, i)
		}
	}
	return n - 1
}

// exact checks the audit log of a system of peers that has ended: nothing that any
// of them said is missing, or there twice, and all of it was judged as the policy says.
func (r *running) exact() {
	r.t.Helper()
	h, lost := heard{}, map[string]uint64{}
	all := r.records()
	r.once(all)
	for _, rec := range all {
		if err := h.take(&rec); err != nil {
			r.t.Error(err)
		}
		if rec.Event == audit.EventLost {
			lost[rec.From] += rec.Lost
		}
	}
	total := 0
	for from := range h {
		child := strings.Contains(from, "#")
		log, err := os.ReadFile(filepath.Join(r.dir, audit.LogDir, from))
		if err != nil && !(child && errors.Is(err, os.ErrNotExist)) { // who was never without a gate wrote nothing
			r.t.Fatal(err)
		}
		said := -1
		for line := range strings.Lines(string(log)) {
			fmt.Sscanf(line, "said %d", &said)
		}
		if child {
			said = h.last(from) // it is killed with its parent, and says nothing more
		}
		if said < 1 {
			r.t.Errorf("%s does not say what it said: %s", from, tail(log))
			continue
		}
		if err := h.check(from, said, lost[from]); err != nil {
			r.t.Error(err)
		}
		total += said
	}
	r.t.Logf("%d domains made %d calls that are permitted and as many that are not: each was judged and recorded once", len(h), total)
}

// TestExactCatches: the controls of exact. A record that is missing, that is there
// twice, or whose verdict is another one is found; what is told as lost is not.
func TestExactCatches(t *testing.T) {
	call := func(text, verdict string) *audit.Record {
		return &audit.Record{Event: audit.EventCall, From: "d1", To: "d2", Verdict: verdict, Params: map[string]any{"text": text}}
	}
	whole := []*audit.Record{call("call 1", audit.Allow), call("secret 1", audit.Deny), call("call 2", audit.Allow), call("secret 2", audit.Deny), call("call 3", audit.Allow)}
	take := func(all []*audit.Record, said int, lost uint64) error {
		h := heard{}
		for _, rec := range all {
			if err := h.take(rec); err != nil {
				return err
			}
		}
		return h.check("d1", said, lost)
	}
	if err := take(whole, 2, 0); err != nil {
		t.Errorf("the whole: %v", err)
	}
	if take(whole, 1, 9) == nil || take(whole, 4, 0) == nil {
		t.Error("another number of calls than were made passes")
	}
	for i, rec := range whole {
		if take(append(whole[:len(whole):len(whole)], rec), 2, 9) == nil {
			t.Errorf("record %d twice passes", i)
		}
		if i == len(whole)-1 {
			break // the end of the system may have met it on its way
		}
		without := append(append([]*audit.Record{}, whole[:i]...), whole[i+1:]...)
		if take(without, 2, 0) == nil {
			t.Errorf("without record %d passes", i)
		}
		if err := take(without, 2, 1); err != nil {
			t.Errorf("without record %d, which is told as lost: %v", i, err)
		}
	}
	if take([]*audit.Record{call("secret 1", audit.Allow)}, 1, 9) == nil || take([]*audit.Record{call("call 1", audit.Deny)}, 1, 9) == nil {
		t.Error("a verdict that is not the policy's passes")
	}
}
