package monitor

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// TestNotEverywhere: a change that does not come into force everywhere is in force: it is recorded, once, and says so;
// what it starts is started, whichever swap fails. The control is the same change where none does.
func TestNotEverywhere(t *testing.T) {
	for name, fails := range map[string]bool{"everywhere": false, "in part": true} {
		t.Run(name, func(t *testing.T) {
			keeper := &aKeeper{}
			s := changingWith(t, func(c *Config) {
				keeper.fakeHolder = c.Holder.(fakeHolder)
				c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
				if fails {
					c.Fabric = failingRestorer{c.Fabric.(*aFabric)}
				}
			})
			img := changed(t, func(i *image.Image) {
				another := i.Domains[client]
				another.Name = "third"
				i.Domains = append(i.Domains, another)
			})
			_, err := s.ask(&admin.Change{Image: sealed(t, img)})
			if fails != (err != nil && strings.Contains(err.Error(), "not everywhere")) {
				t.Errorf("it is said: %v", err)
			}
			s.audit.mu.Lock()
			var recorded []event.Event
			for _, e := range s.audit.events {
				if e.Kind == event.Reloaded {
					recorded = append(recorded, e)
				}
			}
			s.audit.mu.Unlock()
			if len(recorded) != 1 {
				t.Fatalf("recorded %d times, want once", len(recorded))
			}
			e := recorded[0]
			if e.Text != image.Hash(image.Encode(img)) || e.Recorded() == 0 || (e.Reason == abi.ReasonClosed) != fails {
				t.Errorf("recorded: %+v", e)
			}
			for _, kept := range keeper.names() {
				if kept == keptChanged {
					t.Error("the next monitor records it again")
				}
			}
			s.until("what is new runs", func() bool { return s.m.domains[third].state == stateRunning })
		})
	}
}

// failingRestorer is failingSwap for a monitor that keeps what it does.
type failingRestorer struct{ *aFabric }

func (f failingRestorer) Prepare(img *image.Image, changes []Change) (Swap, error) {
	return failingSwap{f.aFabric}.Prepare(img, changes)
}
