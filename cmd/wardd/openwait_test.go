package main

import (
	"os"
	"syscall"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

const lateDomains = `  alpha: {program: PROBE, args: [server], exports: [test.v1.Echo]}
  omega: {program: PROBE, args: [late], exports: [test.v1.Echo]}
  patient: {program: PROBE, args: [greet]}
  barred: {program: PROBE, args: [greet]}
`

// A client that waits is not content with a server that it may not call, though
// that was there first: it waits for the one that it may. Who may call none is
// told so, and does not wait.
func TestOpenWaitsForPermittedServer(t *testing.T) {
	r := upOf(t, live("wants"), lateDomains)
	r.report(lifeline.Ready)
	r.says("omega", `may be told`)
	r.says("barred", `permission denied: open test.v1.Echo: forbidden by policy "barred from all"`)
	// The monitor waits for omega, too, and then says that it does not serve.
	refused := r.await(r.since, "that the patient is told that no server of its serves", func(k *audit.Record) bool {
		return k.Event == audit.EventGate && k.From == "patient" && k.Verdict == audit.Deny
	})
	if refused.To != "omega" || refused.Policy != "" {
		t.Errorf("record of the refusal: %+v", refused)
	}
	for _, k := range r.records() {
		if k.Event == audit.EventCall && k.From == "patient" && k.Method == "test.v1.Echo/Say" {
			t.Fatalf("called before its server served: %+v", k)
		}
	}
	started := r.await(r.since, "the start of omega", func(k *audit.Record) bool { return k.Event == audit.EventStarted && k.Domain == "omega" })
	omega, err := os.FindProcess(int(started.PID)) // by a pidfd: nobody else's process
	if err != nil {
		t.Fatal(err)
	}
	if err := omega.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	k := r.await(r.since, "a call of the patient", func(k *audit.Record) bool {
		return k.Event == audit.EventCall && k.From == "patient" && k.Method == "test.v1.Echo/Say"
	})
	if k.To != "omega" || k.Verdict != audit.Allow {
		t.Errorf("the patient calls %+v", k)
	}
}
