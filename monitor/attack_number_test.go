package monitor

import (
	"testing"

	"ward/abi"
	"ward/image"
)

// Numbers of handles come again. Who has one from an offer that has ended can neither
// redeem nor give up what is offered to somebody else under it then; and a monitor that
// takes over does not take the new offer for the one that was redeemed.
func TestAttackNumberAgain(t *testing.T) {
	s := memorySystem(t, func(c *Config) {
		c.Image.Objects[frames].Read[second] = image.Verdict{Allow: true}
		route := c.Image.Routes[0]
		route.Server = second
		c.Image.Routes = append(c.Image.Routes, route)
	})
	giver, hostile, honest := s.domain(client), s.domain(server), s.domain(second)
	for _, d := range []*fakeDomain{hostile, honest} {
		d.ok(serve(1, "t.Echo"))
	}
	toHostile, hostiles := s.echoGate(giver, hostile, 1, "server")
	toHonest, its := s.echoGate(giver, honest, 2, "second")
	ref, _ := giver.gets(makes(3, 64), readWrite, 64)
	other, _ := giver.gets(makes(4, 64), readWrite, 64)

	stale := giver.offers(offer(5, ref, toHostile, readOnly))
	s.fabric.admit(stale)
	got, _ := hostile.gets(redeem(2, stale, hostiles), readOnly, 64) // and has a reference that came by the number
	again := giver.offers(offer(6, other, toHonest, readOnly))
	if again != stale {
		t.Fatalf("number %#x, want %#x once more: the test shows nothing", again, stale)
	}
	s.fabric.admit(again)
	hostile.refused(redeem(3, stale, hostiles), abi.ReasonHandle)
	hostile.refused(retract(4, stale, hostiles), abi.ReasonHandle)
	giver.refused(retract(7, stale, toHostile), abi.ReasonHandle)

	s.m.mu.Lock()
	d := s.m.domains[server]
	for _, r := range s.m.book.References(d.owner()) {
		s.m.finishRedeeming(d, r)
	}
	s.m.mu.Unlock()
	honest.gets(redeem(2, again, its), readOnly, 64)

	// The control: what was redeemed, and not ended yet, is ended.
	third := giver.offers(offer(8, ref, toHostile, readOnly))
	s.fabric.admit(third)
	s.m.mu.Lock()
	for _, r := range s.m.book.References(d.owner()) {
		s.m.finishRedeeming(d, r)
	}
	s.m.mu.Unlock()
	hostile.refused(redeem(5, third, hostiles), abi.ReasonHandle)
	hostile.ok(drop(6, got))
}
