package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// What is written of objects, as readers of the audit file know it.
func TestObjectRecords(t *testing.T) {
	t.Parallel()
	tr := newTranslator(&image.Image{Domains: []image.Domain{{Name: "camera"}, {Name: "viewer"}}, Objects: []image.Object{{Name: "frames"}},
		Policies: []image.Policy{{ID: "yes"}, {ID: "no", Forbid: true}}})
	about := func(op abi.ControlOp, access uint8, change func(*event.Event)) *event.Event {
		e := event.New(event.Object)
		e.Status, e.List, e.Interface = int32(op), []uint32{uint32(access)}, 0
		change(&e)
		got, err := event.Decode(e.Encode())
		if err != nil {
			t.Fatal(err)
		}
		return &got
	}
	const both = abi.AccessRead | abi.AccessWrite
	for name, c := range map[string]struct {
		e    *event.Event
		want Record
	}{
		"made": {about(abi.OpMake, 0, func(e *event.Event) { e.Domain, e.Allow, e.Policy, e.Count = 0, true, 0, 4096 }),
			Record{Domain: "camera", Object: "frames", Kind: "make", Access: "create", Verdict: Allow, Policy: "yes", Detail: "4096 bytes"}},
		"forbidden": {about(abi.OpMake, 0, func(e *event.Event) { e.Domain, e.Policy, e.Reason = 1, 1, abi.ReasonForbid }),
			Record{Domain: "viewer", Object: "frames", Kind: "make", Access: "create", Verdict: Deny, Policy: "no"}},
		"unknown": {about(abi.OpOpenObject, both, func(e *event.Event) {
			e.Domain, e.Interface, e.Text, e.Reason = 1, event.None, "none\x00no policy", abi.ReasonDefault
		}), Record{Domain: "viewer", Object: "none", Kind: "open", Access: "open.write", Verdict: Deny, Reason: "default deny", Detail: "no policy"}},
		"offered": {about(abi.OpOffer, abi.AccessRead, func(e *event.Event) { e.From, e.To, e.Allow, e.Policy = 0, 1, true, 0 }),
			Record{From: "camera", To: "viewer", Object: "frames", Kind: "offer", Access: "open.read", Verdict: Allow, Policy: "yes"}},
		"mapped": {about(abi.OpOffer, abi.AccessRead, func(e *event.Event) {
			e.From, e.To, e.Reason, e.Policy, e.Text = 0, 1, abi.ReasonState, 0, "unmap it first"
		}), Record{From: "camera", To: "viewer", Object: "frames", Kind: "offer", Access: "open.read", Verdict: Deny, Reason: "not in this state", Detail: "unmap it first"}},
		"too many": {about(abi.OpRedeem, both, func(e *event.Event) { e.From, e.To, e.Reason, e.Text = 0, 1, abi.ReasonQuota, "64" }),
			Record{From: "camera", To: "viewer", Object: "frames", Kind: "redeem", Access: "open.write", Verdict: Deny, Reason: "limit of objects", Detail: "64"}},
	} {
		got, ok := tr.event(c.e)
		c.want.Event, c.want.Time = EventObject, got.Time
		if d := cmp.Diff(c.want, got); d != "" || !ok {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}
