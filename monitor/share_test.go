package monitor

import (
	"strings"
	"testing"

	"ward/abi"
)

// Half of the server's gates is the client's share: the other half is for users.
func TestShare(t *testing.T) {
	s := startSystem(t, func(c *Config) { c.Image.Domains[server].Quota.Gates = 6 })
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	for i := range uint32(3) {
		if got, _ := c.ask(open(i+1, "t.Echo")); got.Op != abi.OpGate {
			t.Fatalf("gate %d: %+v", i, got)
		}
	}
	if got, _ := c.ask(open(4, "t.Echo")); got.Reason != abi.ReasonQuota || !strings.Contains(got.Text, "share") {
		t.Errorf("one more than the share: %+v", got)
	}
	if m := s.m.domains; m[server].share != 3 || m[second].share != serverGates || m[client].share != defaultGates {
		t.Errorf("shares: %d, %d, %d", m[server].share, m[second].share, m[client].share)
	}
}

func TestArrivals(t *testing.T) {
	var o outside
	o.init()
	for i := range userBurst {
		if !o.arrives(1) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	for range 3 * userBurst {
		o.arrives(1)
	}
	if n := o.arrivals[1].refused; n < 2*userBurst {
		t.Errorf("%d connections were refused", n)
	}
	if !o.arrives(2) {
		t.Error("another user is refused")
	}
}
