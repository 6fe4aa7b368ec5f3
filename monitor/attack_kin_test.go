package monitor

import (
	"testing"
	"time"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// A domain goes on calling by a delegation after a reload that no longer allows
// it, or in which the number of what was lent means another method. The control:
// a reload that leaves it as it was.
func TestAttackLentInReload(t *testing.T) {
	grants := func(i *image.Image) {
		i.Grants = []image.Grant{{From: client, To: second, Entry: image.Entry{}, Verdict: image.Verdict{Allow: true, Policy: 0}}}
	}
	for name, c := range map[string]struct {
		change func(*image.Image)
		ends   bool
	}{
		"control":              {grants, false},
		"not granted any more": {func(i *image.Image) {}, true},
		"forbidden": {func(i *image.Image) {
			grants(i)
			i.Grants[0].Verdict = image.Verdict{Policy: 1}
		}, true},
		"another method": {func(i *image.Image) {
			grants(i)
			i.Interfaces[0].Methods[0].Name = "Erase"
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSystem(t, func(c *Config) {
				c.Image = changed(t, grants)
				f, err := link.Seal(image.Encode(c.Image))
				if err != nil {
					t.Fatal(err)
				}
				c.Sealed, c.Hash = f, image.Hash(image.Encode(c.Image))
			})
			from, to, v := s.domain(client), s.domain(second), s.domain(server)
			v.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
			lend := abi.LendRequest{To: "second", Entry: "t.Echo/Say", Lifetime: uint64(time.Hour)}
			if got, _ := from.ask(abi.Control{Op: abi.OpLend, Seq: 1, Text: lend.Encode()}); got.Op != abi.OpLent {
				t.Fatalf("no delegation: %+v", got)
			}
			told, _ := to.read()
			borrow := func(seq uint32) abi.Control {
				got, _ := to.ask(abi.Control{Op: abi.OpBorrow, Seq: seq, Block: told.Block, Name: "server"})
				return got
			}
			if got := borrow(1); got.Op != abi.OpGate {
				t.Fatalf("no gate: %+v", got)
			}
			if _, err := s.ask(&admin.Change{Image: sealed(t, changed(t, c.change))}); err != nil {
				t.Fatal(err)
			}
			s.m.mu.Lock()
			lent := len(s.m.lent)
			var dead []bool
			for g := range s.m.gates {
				dead = append(dead, g.loaded.(*fakeRoute).dead)
			}
			s.m.mu.Unlock()
			if !c.ends {
				if got := borrow(2); got.Op != abi.OpGate || lent != 1 || dead[0] {
					t.Errorf("%d delegations, gates dead %v, and again %+v", lent, dead, got)
				}
				return
			}
			if lent != 0 || len(dead) != 1 || !dead[0] {
				t.Errorf("%d delegations go on, gates dead: %v", lent, dead)
			}
			ended, _ := to.read()
			revoked, _ := to.read()
			if ended.Op != abi.OpLentEnded || ended.Block != told.Block || revoked.Op != abi.OpRevoked {
				t.Errorf("the borrower is told %+v and %+v", ended, revoked)
			}
			if got := borrow(2); got.Op != abi.OpRefused || got.Reason != abi.ReasonExpired {
				t.Errorf("a gate by a delegation that has ended: %+v", got)
			}
		})
	}
}
