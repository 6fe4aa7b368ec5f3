package main

import (
	"strings"
	"testing"
	"time"

	"ward/audit"
)

// calls waits until a domain has sent so many more messages that were let pass.
func (r *running) calls(name string, more uint64) {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for until := r.domains()[name].Allowed + more; r.domains()[name].Allowed < until; {
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("%s does not call", name)
		}
	}
}

// TestKnownToTheNextWriter: the audit writer does nothing any more, and is killed, while a
// delegation is made and used, another one is taken back, and a child is made, calls, and
// ends. The next one writes all that before any monitor could have told it who is
// who: each record names both, by the delegation or child that it was.
func TestKnownToTheNextWriter(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 4 }, quota: { processes: 200 }")
	borrower := chief.done("spawn borrower")
	chief.done("loan", "first", borrower, 0, "1h")
	gone := chief.done("spawn keeper processes=30 test.v1.Kin/One")
	byDelegation := func(k *audit.Record) bool {
		return k.Event == audit.EventCall && k.From == borrower && k.Verdict == audit.Allow
	}
	r.await(r.since, "a use of the delegation", byDelegation)
	r.await(r.since, "a call of the child", called(gone, audit.Allow, "One"))

	writer := r.wholly()["audit"]
	r.stopsProcess(writer)
	at := time.Now()
	chief.done("revoke", "first")
	chief.done("loan", "second", borrower, 0, "1h")
	r.calls(borrower, 3)
	made := chief.done("spawn keeper processes=30 test.v1.Kin/One")
	r.calls(made, 3)
	r.calls(gone, 3)
	for _, name := range []string{gone, made} {
		chief.done("kill", name)
		chief.done("wait", name)
	}
	r.kills(writer)
	r.comesBack("audit", writer)
	r.await(at, "a use of the delegation, afterwards", byDelegation)
	r.stops()

	all := r.records()
	r.once(all)
	uses, calls, ended := map[string]int{}, map[string]int{}, map[string]time.Time{}
	for i := range all {
		k := &all[i]
		switch {
		case k.Event == audit.EventSpawned || k.Event == audit.EventEnded:
			if k.Domain == "" {
				t.Errorf("nobody is named: %+v", k)
			}
		case k.Event == audit.EventLent, k.Event == audit.EventLentEnded:
			if k.From != "chief" || k.To != borrower {
				t.Errorf("it is not said between whom: %+v", k)
			}
			if name, _, ok := strings.Cut(k.Detail, ":"); ok && k.Event == audit.EventLentEnded {
				ended[name] = k.Time
			}
		case k.Event == audit.EventGate || k.Event == audit.EventClosed:
			if k.From == "" {
				t.Errorf("nobody is named: %+v", k)
			}
		case byDelegation(k):
			_, name, ok := strings.Cut(k.Detail, "by ")
			if end, over := ended[name]; !ok || over && k.Time.After(end) {
				t.Errorf("it is not said by which delegation: %+v", k)
			}
			if k.Time.After(at) {
				uses[name]++
			}
		case k.Event == audit.EventCall:
			if k.From == "" || k.To == "" {
				t.Errorf("nobody is named: %+v", k)
			}
			if k.Time.After(at) && k.Verdict == audit.Allow {
				calls[k.From]++
			}
		}
	}
	if uses["delegation 2"] < 3 || calls[gone] < 3 || calls[made] < 3 {
		t.Errorf("%v uses, %v calls since the writer did nothing any more", uses, calls)
	}
}
