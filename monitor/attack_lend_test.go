package monitor

import (
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

// TestAttackLentToSomebody: a domain that may lend its right to nobody finds out
// which domains there are, and which of them run. The control: who may lend to
// a domain is told that it does not run, and lends to one that does.
func TestAttackLentToSomebody(t *testing.T) {
	const idle abi.DomainID = 3
	start := func(t *testing.T, to ...abi.DomainID) func(name string) abi.Control {
		s := startSystem(t, func(c *Config) {
			c.Image = changed(t, func(i *image.Image) {
				i.Domains = append(i.Domains, image.Domain{Name: "idle", Program: "/bin/idle", Ring: i.Domains[0].Ring, Start: image.Verdict{Policy: abi.NoPolicy}})
				for _, d := range to {
					i.Grants = append(i.Grants, image.Grant{From: client, To: d, Entry: image.Entry{}, Verdict: image.Verdict{Allow: true, Policy: 0}})
				}
			})
		})
		from := s.domain(client)
		seq := uint32(0)
		return func(name string) abi.Control {
			seq++
			lend := abi.LendRequest{To: name, Entry: "t.Echo/Say", Lifetime: uint64(time.Hour)}
			got, _ := from.ask(abi.Control{Op: abi.OpLend, Seq: seq, Text: lend.Encode()})
			return got
		}
	}
	t.Run("control", func(t *testing.T) {
		lend := start(t, second, idle)
		if got := lend("second"); got.Op != abi.OpLent {
			t.Errorf("to one that runs: %+v", got)
		}
		if got := lend("idle"); got.Op != abi.OpRefused || got.Reason != abi.ReasonNotRunning || !strings.Contains(got.Text, "does not run") {
			t.Errorf("to one that does not run: %+v", got)
		}
	})
	lend := start(t)
	for _, name := range []string{"second", "idle", "nobody", "client", "second#1"} {
		got := lend(name)
		if got.Op != abi.OpRefused || got.Reason != abi.ReasonDefault || got.Detail != abi.NoPolicy || got.Text != "no policy lets client lend t.Echo/Say to "+name {
			t.Errorf("to %s: %+v", name, got)
		}
	}
}
