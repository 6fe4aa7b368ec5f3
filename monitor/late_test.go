package monitor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"ward/abi"
	"ward/image"
)

// A lateCreator makes what it is asked for when nobody waits for it any more.
type lateCreator struct {
	*fakeCreator
	late   bool
	undone []abi.DomainID
}

func (c *lateCreator) Start(ctx context.Context, d abi.DomainID, control, output *os.File) (Process, error) {
	if c.late {
		return Process{}, fmt.Errorf("start: %w", context.DeadlineExceeded)
	}
	return c.fakeCreator.Start(ctx, d, control, output)
}

func (c *lateCreator) Spawn(ctx context.Context, o Order, control, output *os.File) (Process, error) {
	return c.Start(ctx, o.Child, control, output)
}

// Undo is asked before the number is anybody's again.
func (c *lateCreator) Undo(_ context.Context, d abi.DomainID) error {
	c.undone = append(c.undone, d)
	return nil
}

// TestMadeTooLate: what a creator may still make of which nobody waits for any more is taken
// back: it would run on, with its quota and its number, and be nobody's.
func TestMadeTooLate(t *testing.T) {
	var creator *lateCreator
	s := startSystem(t, func(c *Config) {
		c.Image = changed(t, func(i *image.Image) {
			yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: abi.NoPolicy}
			i.Domains[client].Children = image.Children{Number: 2, Depth: 1, Tree: 2}
			i.Domains = append(i.Domains, image.Domain{Name: "leaf", Program: "/bin/leaf", Ring: i.Domains[0].Ring, Start: yes, Template: true})
			i.Spawns = []image.Spawn{{Parent: client, Template: 3, Spawn: yes, Adopt: no}}
		})
		creator = &lateCreator{fakeCreator: c.Creator.(*fakeCreator)}
		c.Creator = creator
	})
	s.until("all is started", func() bool { return s.m.started })
	s.m.mu.Lock()
	creator.late = true
	s.m.mu.Unlock()
	d := s.domain(client)
	ask := abi.SpawnRequest{Template: "leaf"}
	if a, _ := d.ask(abi.Control{Op: abi.OpSpawn, Seq: 1, Text: ask.Encode()}); a.Op != abi.OpRefused {
		t.Fatalf("answer: %+v", a)
	}
	if err := s.m.startDomain(context.Background(), newDomain(s.m.Image, server)); err == nil {
		t.Error("a domain that was made too late is started")
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if want := []abi.DomainID{image.FirstChild, server}; !slices.Equal(creator.undone, want) {
		t.Errorf("undone: %v, want %v", creator.undone, want)
	}
	creator.late = false
}
