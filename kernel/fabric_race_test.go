package kernel

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// roundImage is stateImage with a state of nine values that only goes round:
// width n moves it from n to n+1. So no two messages in a row can be the same.
func roundImage() *image.Image {
	const n = 9
	var rules []image.Rule
	img := stateImage()
	for i := range uint32(n) {
		rules = append(rules, image.Rule{When: cellIs(cMode, int64(i)), Enter: []image.Enter{{Cell: cMode, Value: (i + 1) % n}}})
	}
	img = stateImage(rules...)
	s := &img.States[2]
	s.Values, s.Moves = nil, nil
	for i := range uint32(n) {
		s.Values = append(s.Values, fmt.Sprint("v", i))
		if i+1 < n {
			s.Moves = append(s.Moves, image.Move{From: i, To: i + 1})
		}
	}
	s.Moves = append(s.Moves, image.Move{From: n - 1, To: 0})
	img.Cells[cMode].Bits = 4
	return img
}

// hammer lets senders on gates of their own try every move of roundImage again
// and again, and returns how many of each were admitted.
func hammer(g *gateTest, senders, rounds int) (moves [9]uint64) {
	g.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range senders {
		gate, err := g.f.Open(g.route)
		if err != nil {
			g.t.Fatal(err)
		}
		defer gate.Close()
		defer gate.Client.Close()
		defer gate.Server.Close()
		client, server := int(gate.Client.Fd()), int(gate.Server.Fd())
		if err := unix.SetNonblock(server, true); err != nil {
			g.t.Fatal(err)
		}
		wg.Go(func() {
			var mine [9]uint64
			buf := make([]byte, 64)
			<-start
			for i := range rounds {
				width := i % 9
				gen := uint16(i + 1)
				if _, err := unix.Write(client, unary(0, gen, uint64(width))); err != nil {
					g.t.Errorf("write: %v", err)
					return
				}
				if n, _ := unix.Read(server, buf); n <= 0 {
					continue
				}
				mine[width]++
				if _, err := unix.Write(server, message(abi.Header{Kind: abi.KindReply, Gen: gen}, vint(1, 1))); err != nil {
					g.t.Errorf("write: %v", err)
					return
				}
				if n, err := unix.Read(client, buf); n <= 0 {
					g.t.Errorf("no reply: %v", err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for i, n := range mine {
				moves[i] += n
			}
		})
	}
	close(start)
	wg.Wait()
	return moves
}

// Two senders race for one word. The state only goes round, so what was
// admitted of one move and of the next differ by one at most; the last state
// says which; and the word has counted every move that was admitted.
func TestStateRace(t *testing.T) {
	img := roundImage()
	g := stateTest(t, img, FabricConfig{})
	const rounds = 60000
	moves := hammer(g, 2, rounds)
	if why := unaccounted(g, img, moves); why != "" {
		t.Error(why)
	}
	if moves[0] == 0 {
		t.Error("no move was admitted")
	}
	t.Logf("moves %d of %d messages", moves, 2*rounds)
}

// unaccounted says how the admitted moves and the word disagree.
func unaccounted(g *gateTest, img *image.Image, moves [9]uint64) string {
	at, count := g.value(img, cMode)
	sum := uint64(0)
	for i, n := range moves {
		sum += n
		want := moves[0]
		if uint32(i) >= at && at != 0 {
			want--
		}
		if at == 0 {
			want = moves[8]
		}
		if n != want {
			return fmt.Sprintf("moves %d, at the end the state is %d: one was made twice, or got lost", moves, at)
		}
	}
	if uint16(sum) != uint16(count) {
		return fmt.Sprintf("%d moves were admitted, the word counted %d (modulo 65,536)", sum, count)
	}
	return ""
}

// The control of TestStateRace: with a plain store in place of the
// compare-and-swap the same senders lose updates.
func TestStateRaceIsReal(t *testing.T) {
	img := roundImage()
	plain := withoutExchange(t, "settle", 1)
	g := stateTest(t, img, FabricConfig{})
	g.f.object = plain
	img.Routes[0].Methods[mWide].Request = image.Decision{} // programs of the same content are shared
	if err := g.tryReplace(img); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := g.f.words.words.Put(uint32(0), uint64(0)); err != nil {
			t.Fatal(err)
		}
		if unaccounted(g, img, hammer(g, 2, 20000)) != "" {
			return
		}
	}
	t.Skip("needs two processors that are free: in 50 races no two senders met at the word, so TestStateRace shows little")
}

// withoutExchange is the compiled filter with a plain store in place of the
// compare-and-swap of a function that is the nth from its end.
func withoutExchange(t *testing.T, name string, nth int) *object {
	t.Helper()
	o, err := loadObject()
	if err != nil {
		t.Fatal(err)
	}
	o = &object{programs: maps.Clone(o.programs), maps: o.maps}
	spec := o.programs["gate_effects"].Copy()
	o.programs["gate_effects"] = spec
	fn := ""
	var found []int
	for i := range spec.Instructions {
		in := &spec.Instructions[i]
		if f := btf.FuncMetadata(in); f != nil {
			fn = f.Name
		}
		if fn == name && in.OpCode.AtomicOp() == asm.CmpXchg {
			found = append(found, i)
		}
	}
	if len(found) < nth {
		t.Fatalf("%d compare-and-swaps in %s", len(found), name)
	}
	// What the function compares with what the swap returned is still in R0: the old value.
	in := &spec.Instructions[found[len(found)-nth]]
	in.OpCode, in.Constant = asm.StoreMemOp(asm.DWord), 0
	return o
}

// A move that can be made once is made once, however many try at the same time.
func TestStateRaceOfOne(t *testing.T) {
	img := stateImage(enters(cSession, 1), enters(cSession, 1))
	img.States[0].Per, img.Cells[cSession].Word, img.Cells[cSession].Shift = image.PerSystem, 0, 8
	img.States[0].Moves = []image.Move{{From: 0, To: 1}, {From: 1, To: 2}}
	once := &img.Routes[0].Methods[mUnary].Request.Permit[0]
	once.When = all(widthIs(0), cellIs(cSession, 0))
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	g := stateTest(t, img, FabricConfig{Gates: 16})
	if err := g.route.Replace(spec); err != nil {
		t.Fatal(err)
	}
	for round := range 200 {
		if err := g.f.SetState(0, 3<<8, 0); err != nil {
			t.Fatal(err)
		}
		if n := hammer(g, 2, 1)[0]; n != 1 {
			t.Fatalf("round %d: %d of two messages made the only move from the first state", round, n)
		}
	}
}
