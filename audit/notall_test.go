package audit

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
)

// TestReloadNotEverywhere: a record of a change of the policy says whether it is in force everywhere.
func TestReloadNotEverywhere(t *testing.T) {
	a := run(t)
	for _, k := range []event.Kind{event.Reloaded, event.Revoked, event.Granted} {
		for _, reason := range []abi.Reason{abi.ReasonNone, abi.ReasonClosed} {
			e := event.New(k)
			e.Reason = reason
			a.send(e)
		}
	}
	all := a.finish()
	for _, kind := range []string{EventReload, EventRevoked, EventGranted} {
		found := find(all, kind)
		if len(found) != 2 {
			t.Fatalf("%s: %d records", kind, len(found))
		}
		for i, r := range found {
			if got := strings.HasSuffix(r.Detail, "; it is not in force everywhere, and where it is not nothing passes"); got != (i == 1) {
				t.Errorf("%s: %q", kind, r.Detail)
			}
		}
	}
}
