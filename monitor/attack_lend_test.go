package monitor

import (
	"context"
	"errors"
	"os"
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

// noChildren is a creator that makes none.
type noChildren struct{ *fakeCreator }

func (noChildren) Spawn(context.Context, Order, *os.File, *os.File) (Process, error) {
	return Process{}, errors.New("it was asked")
}

// TestAttackSpawnOfAnything: a domain that may make no children asks for some of
// each name to find out which domains there are. The control: where the policy
// lets it, the creator is asked.
func TestAttackSpawnOfAnything(t *testing.T) {
	spawn := func(t *testing.T, name string, change func(*image.Image)) abi.Control {
		s := startSystem(t, func(c *Config) {
			c.Creator = noChildren{c.Creator.(*fakeCreator)}
			c.Image = changed(t, change)
		})
		ask := abi.SpawnRequest{Template: name}
		got, _ := s.domain(client).ask(abi.Control{Op: abi.OpSpawn, Seq: 1, Text: ask.Encode()})
		return got
	}
	template := func(i *image.Image) {
		i.Domains = append(i.Domains, image.Domain{Name: "leaf", Program: "/bin/leaf", Ring: i.Domains[0].Ring, Start: i.Domains[0].Start, Template: true})
	}
	for _, name := range []string{"server", "leaf", "nobody"} {
		got := spawn(t, name, template)
		if got.Op != abi.OpRefused || got.Reason != abi.ReasonDefault || got.Text != "no policy lets client make children of "+name+": "+image.ErrChild.Error() {
			t.Errorf("of %s: %+v", name, got)
		}
	}
	got := spawn(t, "leaf", func(i *image.Image) {
		template(i)
		i.Domains[client].Children = image.Children{Number: 1, Depth: 1, Tree: 1}
		i.Spawns = []image.Spawn{{Parent: client, Template: 3, Spawn: image.Verdict{Allow: true, Policy: 0}, Adopt: image.Verdict{Policy: abi.NoPolicy}}}
	})
	if !strings.Contains(got.Text, "it was asked") {
		t.Errorf("the control: %+v", got)
	}
}
