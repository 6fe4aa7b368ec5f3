package monitor

import (
	"testing"

	"ward/abi"
	"ward/audit/event"
)

// TestRefusedServeIsRecorded: who asks to serve what it does not export, which is
// how publishing begins, is refused, and the audit log is told, also of an
// interface that nobody defines. What it exports is served, and not told twice.
func TestRefusedServeIsRecorded(t *testing.T) {
	s := startSystem(t, nil)
	c, srv := s.domain(client), s.domain(server)
	told := func() (all []event.Event) {
		s.audit.mu.Lock()
		defer s.audit.mu.Unlock()
		for _, e := range s.audit.events {
			if e.Kind == event.Serve {
				all = append(all, e)
			}
		}
		return all
	}
	for name, iface := range map[string]uint32{"t.Echo": s.m.ifaces["t.Echo"], "t.Nothing": event.None} {
		before := len(told())
		if r, _ := c.ask(serve(1, name)); r.Op != abi.OpRefused || r.Reason != abi.ReasonUnknownInterface {
			t.Errorf("%s: %+v", name, r)
		}
		all := told()
		if len(all) != before+1 {
			t.Fatalf("%s: recorded %d times", name, len(all)-before)
		}
		e := all[before]
		if e.From != client || e.Interface != iface || e.Allow || e.Reason != abi.ReasonDefault || e.Policy != event.None || iface == event.None && e.Text != name {
			t.Errorf("%s: %+v", name, e)
		}
	}
	before := len(told())
	if r, _ := srv.ask(serve(1, "t.Echo")); r.Op != abi.OpOK {
		t.Errorf("control: its own: %+v", r)
	}
	if len(told()) != before {
		t.Error("what is allowed is told here, too")
	}
}
