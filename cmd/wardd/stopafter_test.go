package main

import (
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// TestStopsAfter: a system whose creator has died, or was replaced, stops in
// order like any other, whoever asks: the end of each domain is known and recorded,
// by itself and not by a kill after its time of grace. The control is one where
// nobody has died.
func TestStopsAfter(t *testing.T) {
	stops := map[string]func(r *running){
		"sigterm": (*running).stops,
		"down": func(r *running) {
			if err := admin.Down(r.t.Context(), r.dir); err != nil {
				r.t.Fatal(err)
			}
			if status := r.wait(); status != 0 {
				r.t.Errorf("exit status %d: %s", status, r.stderr)
			}
		},
	}
	for name, begin := range map[string]func(r *running){
		"control": func(*running) {},
		"creator": func(r *running) { r.killsAll("creator") },
		"upgrade": func(r *running) { r.killsAll() },
		"both":    func(r *running) { r.killsAll("creator", "monitor") },
	} {
		for how, stop := range stops {
			t.Run(name+"-"+how, func(t *testing.T) {
				r := up(t, pair)
				r.report(lifeline.Ready)
				r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
				begin(r)
				stop(r)
				ended := map[string]int{}
				for _, rec := range r.records() {
					if rec.Event == audit.EventEnded && rec.Status != nil {
						ended[rec.Domain] = *rec.Status
					}
				}
				for _, domain := range []string{"names", "server", "client"} {
					if status, known := ended[domain]; !known || status >= 128 { // 1: a client whose server was faster
						t.Errorf("the end of %s: recorded %v, with status %d", domain, known, status)
					}
				}
			})
		}
	}
}
