package monitor

import (
	"testing"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// State of gates that a reload adds has its initial value on gates that are
// open, before any filter that looks at it runs.
func TestChangeBeginsStateOfOpenGates(t *testing.T) {
	s := changing(t)
	c, v := s.domain(client), s.domain(server)
	v.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	if got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: 1, Interface: "t.Echo"}); got.Op != abi.OpGate {
		t.Fatalf("no gate: %+v", got)
	}
	v.read()
	const shift, initial = 3, 2
	with := changed(t, func(i *image.Image) {
		i.States = append(i.States, image.State{Name: "fresh", Per: image.PerGate, Values: []string{"a", "b", "c"}, Initial: initial})
		i.Cells = append(i.Cells, image.Cell{State: uint32(len(i.States) - 1), Domain: abi.NoDomain, Word: image.GateWord, Shift: shift, Bits: 2})
	})
	if _, err := s.ask(&admin.Change{Image: sealed(t, with)}); err != nil {
		t.Fatal(err)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	gates := 0
	for g := range s.m.gates {
		if g.server.def.Name == "names" {
			continue
		}
		gates++
		word, err := g.State()
		if err != nil || word>>shift&3 != initial {
			t.Errorf("the word of gate %d is %#x, %v", g.Index(), word, err)
		}
	}
	if gates == 0 {
		t.Error("no gate was open: nothing was tested")
	}
}
