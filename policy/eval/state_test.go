package eval_test

import (
	"math/rand/v2"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// door has two cells in one word: of three values, and of two.
func door() *image.Image {
	return &image.Image{
		States: []image.State{
			{Name: "session", Per: image.PerGate, Values: []string{"new", "known", "closed"}, Initial: 1, Moves: []image.Move{{From: 1, To: 2}}},
			{Name: "lamp", Per: image.PerGate, Values: []string{"off", "on"}, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 0}}},
		},
		Cells: []image.Cell{
			{State: 0, Domain: abi.NoDomain, Word: image.GateWord, Shift: 46, Bits: 2},
			{State: 1, Domain: abi.NoDomain, Word: image.GateWord, Shift: 0, Bits: 1},
		},
	}
}

// TestMove: all moves of a message are made, or none; staying counts nothing.
func TestMove(t *testing.T) {
	img := door()
	enter := func(e ...image.Enter) *eval.Outcome {
		return &eval.Outcome{Effects: []eval.Effect{{Policy: 3, Enter: e[:1]}, {Policy: 4, Enter: e[1:]}}}
	}
	m := eval.NewMemory(img)
	if m.Cell(0) != 1 || m.Cell(1) != 0 {
		t.Fatalf("a new gate has %d, %d", m.Cell(0), m.Cell(1))
	}
	for _, c := range []struct {
		o      *eval.Outcome
		policy uint32
		reason abi.Reason
		cells  [2]uint32
		count  uint64
	}{
		{enter(image.Enter{Cell: 0, Value: 1}, image.Enter{Cell: 1, Value: 0}), abi.NoPolicy, abi.ReasonPermit, [2]uint32{1, 0}, 0},
		{enter(image.Enter{Cell: 1, Value: 1}, image.Enter{Cell: 0, Value: 0}), 4, abi.ReasonState, [2]uint32{1, 0}, 0},
		{enter(image.Enter{Cell: 1, Value: 1}, image.Enter{Cell: 0, Value: 2}), abi.NoPolicy, abi.ReasonPermit, [2]uint32{2, 1}, 1},
		{enter(image.Enter{Cell: 0, Value: 1}, image.Enter{Cell: 1, Value: 0}), 3, abi.ReasonState, [2]uint32{2, 1}, 1},
	} {
		policy, reason := m.Commit(c.o)
		if policy != c.policy || reason != c.reason || m.Cell(0) != c.cells[0] || m.Cell(1) != c.cells[1] || m.Gate>>image.StateBits != c.count {
			t.Errorf("%+v: policy %d, %v, cells %d %d, word %#x", c.o, policy, reason, m.Cell(0), m.Cell(1), m.Gate)
		}
	}
	m.Gate = 0xffff<<image.StateBits | m.Gate&(1<<image.StateBits-1)
	m.Commit(enter(image.Enter{Cell: 1, Value: 0}, image.Enter{Cell: 0, Value: 2}))
	if m.Gate>>image.StateBits != 0 || m.Cell(0) != 2 || m.Cell(1) != 0 {
		t.Errorf("the count does not wrap: %#x", m.Gate)
	}
}

// TestBucket compares buckets with a plain model: tokens as they come, in
// fractions of ns that are whole numbers.
func TestBucket(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 7))
		rate := image.Rate{Every: 1 + r.Uint64N(9), Burst: 1 + r.Uint32N(5)}
		now := uint64(1000)
		var b eval.Bucket
		tokens := rate.Every * uint64(rate.Burst) // in ns of filling
		for range 500 {
			step := r.Uint64N(2 * rate.Every)
			now += step
			tokens = min(tokens+step, rate.Every*uint64(rate.Burst))
			next, wait := b.Take(rate, now)
			b = next
			switch {
			case tokens >= rate.Every && wait == 0:
				tokens -= rate.Every
			case tokens < rate.Every && wait == rate.Every-tokens:
			default:
				t.Fatalf("seed %d, %+v: %d ns of tokens, but wait %d", seed, rate, tokens, wait)
			}
		}
	}
}

// TestJudge: every permit that is satisfied has its effects; a forbid none.
func TestJudge(t *testing.T) {
	img := door()
	is := func(v int64) image.Expr {
		return image.Expr{Op: image.Eq, Left: image.Operand{What: image.CellValue, Cell: 0}, Right: image.Operand{Value: image.Value{Long: v}}}
	}
	d := &image.Decision{
		Forbid: []image.Rule{{Policy: 0, When: is(0)}},
		Permit: []image.Rule{
			{Policy: 1, When: image.Expr{Op: image.True}},
			{Policy: 2, When: is(1), Enter: []image.Enter{{Cell: 1, Value: 1}}, Audit: true},
			{Policy: 3, When: is(2), Rate: image.Rate{Every: 1, Burst: 1}},
		},
	}
	m := eval.NewMemory(img)
	for value, want := range []struct {
		verdict image.Verdict
		reason  abi.Reason
		audit   bool
		effects []uint32
	}{
		{image.Verdict{Policy: 0}, abi.ReasonForbid, true, nil},
		{image.Verdict{Allow: true, Policy: 1}, abi.ReasonPermit, true, []uint32{2}},
		{image.Verdict{Allow: true, Policy: 1}, abi.ReasonPermit, false, []uint32{3}},
	} {
		m.Set(0, uint32(value))
		o := eval.Judge(d, nil, eval.Client{}, m)
		var effects []uint32
		for _, e := range o.Effects {
			effects = append(effects, e.Policy)
		}
		if o.Verdict != want.verdict || o.Reason != want.reason || o.Audit != want.audit || len(effects) != len(want.effects) || len(effects) > 0 && effects[0] != want.effects[0] {
			t.Errorf("%d: %+v", value, o)
		}
	}
	if v, _ := eval.Decide(d, nil, eval.Client{}); v.Policy != 1 {
		t.Errorf("without state %v", v)
	}
}
