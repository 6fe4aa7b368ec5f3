package kernel

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

func widthIs(n int64) image.Expr {
	return image.Expr{Op: image.Eq, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: n}}}
}

func cellIs(cell uint32, v int64) image.Expr {
	return image.Expr{Op: image.Eq, Left: image.Operand{What: image.CellValue, Cell: cell}, Right: image.Operand{Value: image.Value{Long: v}}}
}

func all(args ...image.Expr) image.Expr { return image.Expr{Op: image.And, Args: args} }

// Cells of stateImage.
const (
	cSession = iota // of the gate: new, authenticated, closed; from each to the next
	cDoor           // of the gate: a, b, both ways
	cMode           // of the system: normal, repair, both ways
	cLevel          // of domain 0: 0 to 3, upwards, from 1
	cOther          // of domain 1, in another word
)

// stateImage is streamImage with state. What its messages do depends on their
// width, as rules says: rule i is that of width i.
func stateImage(rules ...image.Rule) *image.Image {
	img := streamImage()
	img.States = []image.State{
		{Name: "session", Per: image.PerGate, Values: []string{"new", "authenticated", "closed"}, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 2}}},
		{Name: "door", Per: image.PerGate, Values: []string{"a", "b"}, Initial: 1, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 0}}},
		{Name: "mode", Per: image.PerSystem, Values: []string{"normal", "repair"}, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 0}}},
		{Name: "level", Per: image.PerDomain, Values: []string{"l0", "l1", "l2", "l3"}, Initial: 1, Moves: []image.Move{{From: 0, To: 1}, {From: 1, To: 2}, {From: 2, To: 3}}},
	}
	img.Cells = []image.Cell{
		{State: 0, Domain: abi.NoDomain, Word: image.GateWord, Bits: 2},
		{State: 1, Domain: abi.NoDomain, Word: image.GateWord, Shift: 47, Bits: 1},
		{State: 2, Domain: abi.NoDomain, Word: 0, Shift: 5, Bits: 1},
		{State: 3, Domain: 0, Word: 1, Bits: 2},
		{State: 3, Domain: 1, Word: 2, Shift: 40, Bits: 8},
	}
	img.Words = 3
	img.Policies = nil
	d := image.Decision{}
	for i, r := range rules {
		img.Policies = append(img.Policies, image.Policy{ID: fmt.Sprint("width ", i)})
		r.Policy = uint32(i)
		if r.When.Op == 0 {
			r.When = widthIs(int64(i))
		} else {
			r.When = all(widthIs(int64(i)), r.When)
		}
		d.Permit = append(d.Permit, r)
	}
	for i := range img.Routes[0].Methods {
		m := &img.Routes[0].Methods[i]
		m.Request = d
		m.Reply = image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}
	}
	return img
}

func enters(cell, value uint32) image.Rule {
	return image.Rule{Enter: []image.Enter{{Cell: cell, Value: value}}}
}

// stateTest is a gateTest whose words have their initial values.
func stateTest(t testing.TB, img *image.Image, cfg FabricConfig) *gateTest {
	t.Helper()
	cfg.Gates, cfg.Programs, cfg.Words = max(cfg.Gates, 4), max(cfg.Programs, 8), img.Words
	g := newGateTest(t, img, cfg)
	for w := range img.Words {
		if err := g.f.SetState(w, 1<<image.StateBits-1, img.Initial(w)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// value reads a cell of the gate or of the system, and the count of changes of its word.
func (g *gateTest) value(img *image.Image, cell int) (uint32, uint64) {
	g.t.Helper()
	c := &img.Cells[cell]
	var w uint64
	var err error
	if c.Word == image.GateWord {
		w, err = g.gate.State()
	} else {
		w, err = g.f.State(c.Word)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return c.Value(w), w >> image.StateBits
}

func unary(slot uint16, gen uint16, width uint64) []byte {
	return message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: gen}, vint(1, width))
}

// A declared move is admitted and happens; one that is not declared is denied,
// and nothing happens; staying is allowed, and is no change.
func TestStateMoves(t *testing.T) {
	img := stateImage(
		enters(cSession, 0), enters(cSession, 1), enters(cSession, 2),
		image.Rule{When: cellIs(cSession, 1)},
		image.Rule{Enter: []image.Enter{{Cell: cSession, Value: 1}, {Cell: cDoor, Value: 0}}},
		enters(cMode, 1), enters(cLevel, 3), enters(cLevel, 2), enters(cOther, 2),
	)
	g := stateTest(t, img, FabricConfig{AuditAll: true})
	var slot uint16
	for _, c := range []struct {
		width  uint64
		reason abi.Reason
		cell   int
		value  uint32
		count  uint64 // of changes of its word
	}{
		{3, abi.ReasonDefault, cSession, 0, 0}, // reads the state: not authenticated
		{2, abi.ReasonState, cSession, 0, 0},   // new to closed
		{0, abi.ReasonPermit, cSession, 0, 0},  // stays
		{1, abi.ReasonPermit, cSession, 1, 1},
		{1, abi.ReasonPermit, cSession, 1, 1},
		{3, abi.ReasonPermit, cSession, 1, 1},
		{0, abi.ReasonState, cSession, 1, 1}, // back
		{4, abi.ReasonPermit, cDoor, 0, 2},   // two cells at once, one of which stays
		{2, abi.ReasonPermit, cSession, 2, 3},
		{4, abi.ReasonState, cDoor, 0, 3}, // one of two moves is not declared: neither is made
		{3, abi.ReasonDefault, cSession, 2, 3},
		{5, abi.ReasonPermit, cMode, 1, 1},
		{6, abi.ReasonState, cLevel, 1, 1}, // the count: one change to the initial value
		{7, abi.ReasonPermit, cLevel, 2, 2},
		{6, abi.ReasonPermit, cLevel, 3, 3},
		{8, abi.ReasonPermit, cOther, 2, 2},
		{9, abi.ReasonDefault, cMode, 1, 1},
	} {
		slot++
		got := g.send(abi.Request, unary(slot, 1, c.width))
		v := g.verdict(abi.Request, slot)
		if v.Reason() != c.reason || (got != nil) != c.reason.Allowed() {
			t.Fatalf("width %d: %v, received %x; want %v", c.width, v.Reason(), got, c.reason)
		}
		if c.reason != abi.ReasonDefault && v.Detail() != uint32(c.width) {
			t.Errorf("width %d: detail %d, want the policy", c.width, v.Detail())
		}
		if value, count := g.value(img, c.cell); value != c.value || count != c.count {
			t.Errorf("width %d: cell %d is %d after %d changes, want %d after %d", c.width, c.cell, value, count, c.value, c.count)
		}
		// The slot of a call that is denied is as free as before.
		if !c.reason.Allowed() {
			g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: 1}, nil), abi.ReasonNoCall)
			g.record(abi.Reply)
		}
		r := g.record(abi.Request)
		if r.Reason != c.reason || r.Word == 0 {
			t.Fatalf("width %d: record %+v", c.width, r)
		}
		words := g.route.spec.Programs[abi.Request].Words[mUnary]
		if c.width < 9 && c.width != 3 { // what only looks at state has the first word of the method in its record
			cell := &img.Cells[c.cell]
			if words[r.Word-1] != cell.Word || cell.Value(r.State) != c.value || r.State>>image.StateBits != c.count {
				t.Errorf("width %d: the record has word %d as %#x, want word %d with %d after %d changes", c.width, words[r.Word-1], r.State, cell.Word, c.value, c.count)
			}
		}
	}
	// A new gate has a state of its own, at its beginning.
	first := g.gate
	g.open()
	if v, n := g.value(img, cSession); v != 0 || n != 0 {
		t.Errorf("a new gate begins with value %d after %d changes", v, n)
	}
	if v, _ := g.value(img, cDoor); v != 1 {
		t.Errorf("a new gate's door is %d, want its initial value 1", v)
	}
	g.mustDeny(abi.Request, unary(0, 1, 3), abi.ReasonDefault)
	first.Close()
	if _, err := first.State(); err == nil {
		t.Error("the state of a closed gate can be read")
	}
}

// Two permits that match both have their effects; the first is the one that decides.
func TestEffectsAdd(t *testing.T) {
	img := stateImage(image.Rule{}, image.Rule{}, image.Rule{}, image.Rule{})
	rules := img.Routes[0].Methods[mUnary].Request.Permit
	rules[0].When = image.Expr{Op: image.True}
	rules[1].When, rules[1].Enter = image.Expr{Op: image.True}, []image.Enter{{Cell: cSession, Value: 1}}
	rules[2].When, rules[2].Enter = widthIs(7), []image.Enter{{Cell: cDoor, Value: 0}}
	rules[3].When, rules[3].Enter = widthIs(8), []image.Enter{{Cell: cSession, Value: 0}}
	g := stateTest(t, img, FabricConfig{})
	g.mustSend(abi.Request, unary(0, 1, 7))
	if v := g.verdict(abi.Request, 0); v.Detail() != 0 {
		t.Errorf("decided by policy %d, want the first", v.Detail())
	}
	for cell, want := range map[int]uint32{cSession: 1, cDoor: 0} {
		if v, n := g.value(img, cell); v != want || n != 1 {
			t.Errorf("cell %d is %d after %d changes, want %d after one", cell, v, n, want)
		}
	}
	// Two values for one cell: no compiler lets that through, and no filter.
	g.open()
	g.mustDeny(abi.Request, unary(1, 1, 8), abi.ReasonState)
	if v, n := g.value(img, cSession); v != 0 || n != 0 {
		t.Errorf("the state is %d after %d changes of a message that was denied", v, n)
	}
}

// A message that would change two words is denied: no compiler lets that through.
func TestOneWordChanges(t *testing.T) {
	img := stateImage(enters(cSession, 1), enters(cMode, 1))
	for i := range img.Routes[0].Methods[mUnary].Request.Permit {
		img.Routes[0].Methods[mUnary].Request.Permit[i].When = image.Expr{Op: image.True}
	}
	g := stateTest(t, img, FabricConfig{})
	g.mustDeny(abi.Request, unary(1, 1, 8), abi.ReasonState)
}

// Forbids look at state, too, and come first.
func TestForbidLooksAtState(t *testing.T) {
	img := stateImage(enters(cMode, 1), image.Rule{})
	img.Policies = append(img.Policies, image.Policy{ID: "not during repair", Forbid: true})
	img.Routes[0].Methods[mUnary].Request.Forbid = []image.Rule{{Policy: 2, When: cellIs(cMode, 1)}}
	g := stateTest(t, img, FabricConfig{})
	g.mustSend(abi.Request, unary(0, 1, 1))
	g.mustSend(abi.Request, unary(1, 1, 0))
	g.mustDeny(abi.Request, unary(2, 1, 1), abi.ReasonForbid)
	if err := g.f.SetState(0, 1<<5, 0, 1<<5); err != nil {
		t.Fatal(err)
	}
	g.mustSend(abi.Request, unary(3, 1, 1))
}

// Effects are those of requests, of replies, of items of streams, each way; an
// opening of a client's stream, an end, a cancel, a credit and an error have none.
func TestEffectsOfEachKind(t *testing.T) {
	img := stateImage(enters(cDoor, 0))
	up := &img.Routes[0].Methods[mBoth]
	up.Request.Permit[0].When = image.Expr{Op: image.True}
	up.Reply = image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}, Enter: []image.Enter{{Cell: cDoor, Value: 1}}}}}
	login := &img.Routes[0].Methods[mUnary]
	login.Request = image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}
	ok := image.Expr{Op: image.Eq, Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: 1}}}
	login.Reply = image.Decision{Permit: []image.Rule{{Policy: 0, When: ok, Enter: []image.Enter{{Cell: cSession, Value: 1}}}}}
	g := stateTest(t, img, FabricConfig{})
	is := func(cell int, want uint32, wantCount uint64, after string) {
		t.Helper()
		if v, n := g.value(img, cell); v != want || n != wantCount {
			t.Fatalf("after %s cell %d is %d after %d changes, want %d after %d", after, cell, v, n, want, wantCount)
		}
	}
	stream := func(dir abi.Direction, k abi.Kind, body ...byte) {
		t.Helper()
		g.mustSend(dir, message(abi.Header{Kind: k, Method: mBoth, Gen: 1}, body))
	}
	stream(abi.Request, abi.KindCall)
	is(cDoor, 1, 0, "the opening")
	stream(abi.Request, abi.KindStreamItem, 8, 7)
	is(cDoor, 0, 1, "the client's item")
	stream(abi.Request, abi.KindStreamItem, 8, 7)
	is(cDoor, 0, 1, "another")
	stream(abi.Reply, abi.KindCredit)
	is(cDoor, 0, 1, "a credit")
	stream(abi.Reply, abi.KindStreamItem, 8, 1)
	is(cDoor, 1, 2, "the server's item")
	stream(abi.Request, abi.KindStreamItem, 8, 7)
	stream(abi.Request, abi.KindCancel)
	stream(abi.Reply, abi.KindError)
	is(cDoor, 0, 3, "the end")

	// A login moves on its reply, and not on one that says no.
	g.mustSend(abi.Request, unary(1, 1, 5))
	is(cSession, 0, 3, "a call")
	no := message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 1}, vint(1, 0))
	if got := g.send(abi.Reply, no); len(got) != abi.DeniedSize && len(got) != abi.HeaderSize {
		t.Fatalf("a denied reply arrives as %x", got)
	}
	is(cSession, 0, 3, "a refusal")
	g.mustSend(abi.Request, unary(1, 2, 5))
	g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 2}, vint(1, 1)))
	is(cSession, 1, 4, "a reply")
	if err := g.gate.SetState(3, 2, 0, 1); err != nil {
		t.Fatal(err)
	}
	// From closed nothing leads back: the reply is denied, is cut, and ends its call.
	g.mustSend(abi.Request, unary(1, 3, 5))
	yes := message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 3}, vint(1, 1))
	if got := g.send(abi.Reply, yes); string(got) != string(yes[:abi.HeaderSize]) {
		t.Fatalf("a denied reply arrives as %x", got)
	}
	if v := g.verdict(abi.Reply, 1); v.Reason() != abi.ReasonState {
		t.Errorf("the reply is denied as %v", v.Reason())
	}
	is(cSession, 2, 5, "a reply that is denied")
	g.mustSend(abi.Request, unary(1, 4, 5))
	// The same for an item of a stream from the server, which does not end its call.
	img.Routes[0].Methods[mBoth].Reply.Permit[0].Enter = []image.Enter{{Cell: cSession, Value: 0}}
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		t.Fatal(err)
	}
	stream(abi.Request, abi.KindCall)
	item := message(abi.Header{Kind: abi.KindStreamItem, Method: mBoth, Gen: 1}, []byte{8, 1})
	for range 2 {
		if got := g.send(abi.Reply, item); string(got) != string(item[:abi.HeaderSize]) {
			t.Fatalf("a denied item arrives as %x", got)
		}
	}
	stream(abi.Reply, abi.KindStreamEnd)
	is(cSession, 2, 5, "a swap")
}

func TestSetState(t *testing.T) {
	img := stateImage(enters(cMode, 1))
	g := stateTest(t, img, FabricConfig{})
	if err := g.f.SetState(0, 0xff, 0x21, 0x00, 0x10); err != nil {
		t.Fatal(err)
	}
	if v, err := g.f.State(0); err != nil || v != 0x21|1<<image.StateBits {
		t.Errorf("state %#x, %v", v, err)
	}
	if err := g.f.SetState(0, 0xff, 0x22, 0x20, 0x23); !errors.Is(err, ErrState) {
		t.Errorf("from another value: %v", err)
	}
	if err := g.f.SetState(0, 0xff, 0x21); err != nil {
		t.Error(err)
	}
	if v, _ := g.f.State(0); v != 0x21|1<<image.StateBits {
		t.Errorf("state %#x after no change", v)
	}
	for name, err := range map[string]error{
		"beyond the words":   g.f.SetState(3, 1, 1),
		"outside its mask":   g.f.SetState(0, 1, 2),
		"the count":          g.f.SetState(0, 1<<image.StateBits, 0),
		"words of a program": func() error { img.Cells[cMode].Word = 3; img.Words = 4; return g.tryReplace(img) }(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := g.f.State(3); err == nil {
		t.Error("a word that is not there can be read")
	}
	// The count of changes begins anew after 65,535.
	if err := g.f.words.words.Put(uint32(1), uint64(0xffff)<<image.StateBits|1); err != nil {
		t.Fatal(err)
	}
	if err := g.f.SetState(1, 3, 2); err != nil {
		t.Fatal(err)
	}
	if v, _ := g.f.State(1); v != 2 {
		t.Errorf("state %#x, want 2 and the count at 0", v)
	}
}

// tryReplace swaps the gate's route to another image.
func (g *gateTest) tryReplace(img *image.Image) error {
	g.t.Helper()
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		g.t.Fatal(err)
	}
	return g.route.Replace(spec)
}

// Words are shared by all gates, in the order of those that a message may change first.
func TestWordsOfAMethod(t *testing.T) {
	img := stateImage(image.Rule{When: cellIs(cLevel, 1)}, enters(cMode, 1), image.Rule{When: cellIs(cOther, 1)}, enters(cSession, 1))
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := spec.Programs[abi.Request].Words[mUnary], []uint32{0, image.GateWord, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("words %d, want %d", got, want)
	}
	if got := spec.Programs[abi.Reply].Words[mUnary]; got != nil || spec.Programs[abi.Reply].Effective() {
		t.Errorf("words of replies: %d", got)
	}
	if want := uint64(1) << 47; spec.State != want {
		t.Errorf("a gate begins with %#x, want %#x", spec.State, want)
	}
}
