package kernel

import (
	"slices"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// TestAttackReplyOfChain: a server answers a child, or somebody to whom a gate was
// lent, with what one of the policies over that gate does not let pass: the
// answer is cut off, and only this one. The control: with a chain that lacks that
// level it passes.
func TestAttackReplyOfChain(t *testing.T) {
	img := stateImage(make([]image.Rule, 8)...)
	g := stateTest(t, img, FabricConfig{Buckets: 64})
	yes := image.Decision{Permit: []image.Rule{permit(0, image.Expr{Op: image.True})}}
	replies := []image.Decision{
		yes,
		{Forbid: []image.Rule{permit(1, widthIs(7))}, Permit: []image.Rule{permit(2, widthBelow(50))}},
		{Permit: []image.Rule{permit(3, widthBelow(20)), permit(4, widthIs(40))}},
	}
	chain := func(levels int) filter.Chain {
		c := chainOf(img, slices.Repeat([]image.Decision{yes}, levels)...)
		for i := range img.Routes {
			img.Routes[i].Methods[mWide].Reply = replies[i]
		}
		return c
	}
	var slot uint16
	ask := func(slot uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Method: mWide, Slot: slot, Gen: 1}, vint(1, 1))
	}
	want := func(width uint64, reason abi.Reason, policy uint32) {
		t.Helper()
		slot++
		g.mustSend(abi.Request, ask(slot))
		got := g.send(abi.Reply, message(abi.Header{Kind: abi.KindReply, Method: mWide, Slot: slot, Gen: 1}, vint(1, width)))
		v := g.verdict(abi.Reply, slot)
		if v.Reason() != reason || v.Detail() != policy {
			t.Errorf("reply of width %d: %v by %d; want %v by %d", width, v.Reason(), v.Detail(), reason, policy)
		}
		if whole := len(got) > abi.HeaderSize; whole != reason.Allowed() || !whole && len(got) != abi.HeaderSize {
			t.Errorf("reply of width %d: %v, and %d bytes arrive", width, v.Reason(), len(got))
		}
	}
	g.replaceBy(img, chain(1))
	want(7, abi.ReasonPermit, 0)
	want(60, abi.ReasonPermit, 0)
	g.replaceBy(img, chain(2))
	want(30, abi.ReasonPermit, 0)
	want(7, abi.ReasonForbid, 1)
	want(60, abi.ReasonDefault, abi.NoPolicy)
	g.replaceBy(img, chain(3))
	want(19, abi.ReasonPermit, 0)
	want(40, abi.ReasonPermit, 0)
	want(30, abi.ReasonDefault, abi.NoPolicy)
	want(7, abi.ReasonForbid, 1)
	// The end of the time and the number of uses are of requests: what was asked
	// in time is answered.
	c := chain(3)
	c.Uses, c.Key = 1, 5
	g.replaceBy(img, c)
	want(19, abi.ReasonPermit, 0)
	g.mustDeny(abi.Request, ask(slot+1), abi.ReasonRate)
	c.Uses = 0
	g.replaceBy(img, c)
	slot++
	g.mustSend(abi.Request, ask(slot))
	now, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	c.Until = now
	g.replaceBy(img, c)
	g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Method: mWide, Slot: slot, Gen: 1}, vint(1, 19)))
	g.mustDeny(abi.Request, ask(slot+1), abi.ReasonExpired)
}
