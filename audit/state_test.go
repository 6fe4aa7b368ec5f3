package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// A record carries the state after the decision, by name, and the number of its
// changes; a rate or a move that denies names its policy.
func TestStateOfARecord(t *testing.T) {
	img := system()
	img.States = []image.State{
		{Name: "session", Per: image.PerGate, Values: []string{"new", "open"}},
		{Name: "level", Per: image.PerDomain, Values: []string{"low", "high"}},
		{Name: "mode", Per: image.PerSystem, Values: []string{"normal", "repair"}},
	}
	img.Cells = []image.Cell{{Domain: abi.NoDomain, Word: image.GateWord, Bits: 1},
		{State: 1, Domain: 1, Word: 4, Bits: 1}, {State: 2, Domain: abi.NoDomain, Word: 4, Shift: 8, Bits: 1}, {State: 1, Domain: 0, Word: 3, Bits: 1}}
	img.Words = 5
	cell := func(n uint32) image.Expr {
		return image.Expr{Op: image.Eq, Left: image.Operand{What: image.CellValue, Cell: n}, Right: image.Operand{Value: image.Value{Long: 1}}}
	}
	r := &img.Routes[0].Methods[0].Request.Permit[0]
	r.When, r.Enter = cell(1), []image.Enter{{Cell: 0, Value: 1}}
	tr := newTranslator(img)
	for _, c := range []struct {
		word    uint8
		state   uint64
		want    map[string]string
		changes uint16
	}{
		{1, 7<<image.StateBits | 1, map[string]string{"session": "open"}, 7},
		{2, 0xffff<<image.StateBits | 1<<8, map[string]string{"server.level": "low", "mode": "repair"}, 0xffff},
		{0, 5, nil, 0},
		{3, 5, nil, 0}, // no such word: a record that is not of this image
	} {
		k := abi.Record{Reason: abi.ReasonState, Kind: abi.KindCall, To: 1, Word: c.word, State: c.state}
		got := tr.record(&k)
		if diff := cmp.Diff(c.want, got.State); diff != "" {
			t.Errorf("word %d: %s", c.word, diff)
		}
		if (got.Changes == nil) != (c.want == nil) || got.Changes != nil && *got.Changes != c.changes {
			t.Errorf("word %d: changes %v, want %d", c.word, got.Changes, c.changes)
		}
		if got.Policy != "say" || got.Reason != abi.ReasonState.String() || got.Verdict != Deny {
			t.Errorf("record: %+v", got)
		}
	}
	// The control: another policy looks at no state.
	img.Routes[0].Methods[0].Request.Permit[0] = image.Rule{When: image.Expr{Op: image.True}}
	if got, n := newTranslator(img).state(&abi.Record{Word: 1, State: 1}, filter.Atoms{User: -1}); got != nil || n != nil {
		t.Errorf("state %v of a method that looks at none", got)
	}
}
