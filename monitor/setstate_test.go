package monitor

import (
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// Cells of withState.
const (
	door uint32 = iota // of the system
	lamp               // of a gate
)

// withState gives an image a state of the system and one of gates, each of two values
// with a move forth and back.
func withState(i *image.Image) {
	moves := []image.Move{{From: 0, To: 1}, {From: 1, To: 0}}
	i.States = []image.State{
		{Name: "door", Per: image.PerSystem, Values: []string{"shut", "open"}, Moves: moves},
		{Name: "lamp", Per: image.PerGate, Values: []string{"off", "on"}, Moves: moves},
	}
	i.Cells = []image.Cell{{State: 0, Domain: abi.NoDomain, Word: 0, Bits: 1}, {State: 1, Domain: abi.NoDomain, Word: image.GateWord, Bits: 1}}
	i.Words = 1
}

// sets sets a state by hand, as root.
func (s *system) sets(cell, gate, value uint32) {
	s.t.Helper()
	s.m.mu.Lock()
	running := s.m.Hash
	s.m.mu.Unlock()
	if _, err := s.m.setState(cell, gate, value, false, running, 0); err != nil {
		s.t.Fatal(err)
	}
}

// gateOf is the gate of a client.
func (s *system) gateOf(d abi.DomainID) *gate {
	s.t.Helper()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for g := range s.m.gates {
		if g.client == s.m.domains[d] {
			return g
		}
	}
	s.t.Fatalf("domain %d has no gate", d)
	return nil
}

// What a monitor that dies was about to set, the next one judges by the word: it says what
// it knows, and that it does not know where messages have changed the word since.
func TestAscertained(t *testing.T) {
	const one = 1 << image.StateBits // change
	for name, c := range map[string]struct {
		word, gate uint32
		before     uint64
		now        uint64
		set        bool
		says       string
	}{
		"not set":                  {before: 5 * one, now: 5 * one, says: "was not set"},
		"set":                      {before: 5 * one, now: 6*one | 1, set: true},
		"set before that":          {before: 5*one | 1, now: 5*one | 1, set: true},
		"by the last number":       {before: 0xffff * one, now: 1, set: true},
		"changed otherwise":        {before: 5 * one, now: 6*one | 2, says: "was not set"},
		"otherwise, last number":   {before: 0xffff * one, now: 2, says: "was not set"},
		"changed since":            {before: 5 * one, now: 7 * one, says: "may have been set"},
		"changed since, and again": {before: 5 * one, now: 8*one | 1, says: "may have been set"},
		"of a gate that is closed": {word: image.GateWord, gate: 99, says: "the gate is closed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSystem(t, func(c *Config) { withState(c.Image) })
			s.fabric.mu.Lock()
			s.fabric.words = map[uint32]uint64{0: c.now}
			s.fabric.mu.Unlock()
			s.m.mu.Lock()
			s.m.ascertain(&setting{UID: 7, Domain: abi.NoDomain, Word: c.word, Gate: c.gate, Text: "door=open", Mask: 1, Bits: 1, Before: c.before})
			s.m.mu.Unlock()
			e, n := s.audit.last(event.StateSet), s.audit.last(event.Notice)
			if (e.Kind != 0) != c.set || c.set && (e.UID != 7 || e.Count != c.now || e.Text != "door=open") {
				t.Errorf("recorded: %+v", e)
			}
			if c.says != "" && !strings.Contains(n.Text, "door=open, which user 7 asked for, ") || !strings.Contains(n.Text, c.says) || c.set && n.Kind != 0 {
				t.Errorf("said: %q", n.Text)
			}
		})
	}
}

// What is refused is not kept as something that may have been set.
func TestRefusedSetting(t *testing.T) {
	keeper := &aKeeper{}
	s := startSystem(t, func(c *Config) {
		withState(c.Image)
		c.Image.States[0].Moves = nil
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
	})
	if _, err := s.m.setState(door, event.None, 1, false, s.m.Hash, 0); err == nil {
		t.Error("it is set without a move")
	}
	if slices.Contains(keeper.names(), keptSetting) {
		t.Error("it is kept")
	}
	s.audit.mu.Lock()
	defer s.audit.mu.Unlock()
	if slices.ContainsFunc(s.audit.events, func(e event.Event) bool { return e.Kind == event.StateSet }) {
		t.Error("it is recorded")
	}
}

// What was set and is recorded is not about to be set any more: nothing of it is kept, and the
// next monitor, which takes over all the rest, tells nobody of it again.
func TestSettingIsForgotten(t *testing.T) {
	keeper := &aKeeper{}
	var cfg Config
	s := startSystem(t, func(c *Config) {
		withState(c.Image)
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
		cfg = *c
	})
	put := false
	keeper.diesBefore(func(name string) bool {
		put = put || name == "put "+keptSetting
		return false
	})
	s.sets(door, event.None, 1)
	kept := keeper.names()
	keeper.diesBefore(func(string) bool { return true })
	if !put || slices.Contains(kept, keptSetting) {
		t.Errorf("kept before it is set: %v; kept after that: %q", put, kept)
	}
	h := s.inherit(keeper, cfg)
	if h.intends != 0 || slices.Contains(h.m.keeper.(*aKeeper).names(), keptSetting) {
		t.Error("the next monitor has it as about to be set")
	}
	told := 0
	h.audit.mu.Lock()
	for _, e := range h.audit.events { // also what the audit writer would leave out
		if e.Kind == event.StateSet {
			told++
		}
	}
	h.audit.mu.Unlock()
	h.wants("set", told, 1)
	h.wants("not known", h.count(event.Notice, func(e *event.Event) bool { return strings.Contains(e.Text, "door=open") }), 0)
}
