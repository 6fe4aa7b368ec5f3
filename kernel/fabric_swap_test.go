package kernel

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// swapSpecs are two policies that both admit everything, by policy 0 or by policy 1.
func swapSpecs(t testing.TB) [2]*filter.Spec {
	t.Helper()
	var specs [2]*filter.Spec
	for i := range specs {
		img := echoImage()
		m := &img.Routes[0].Methods[0]
		always := []image.Rule{{Policy: uint32(i), When: image.Expr{Op: image.True}}}
		m.Request.Permit, m.Reply.Permit = always, always
		var err error
		if specs[i], err = filter.Build(img, 0, filter.Atoms{User: -1}); err != nil {
			t.Fatal(err)
		}
	}
	return specs
}

// swapTest makes gates on as many routes.
func swapTest(t testing.TB, gates int) (*gateTest, [2]*filter.Spec, []*Route, []*Gate) {
	t.Helper()
	specs := swapSpecs(t)
	g := newGateTest(t, echoImage(), FabricConfig{Gates: uint32(gates + 1), Programs: uint32(2*gates + 8)})
	var routes []*Route
	var all []*Gate
	for range gates {
		r, err := g.f.Load(specs[0], g.client, g.server)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		gate, err := g.f.Open(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			gate.Client.Close()
			gate.Server.Close()
		})
		for _, end := range []*os.File{gate.Client, gate.Server} {
			if err := unix.SetNonblock(int(end.Fd()), true); err != nil {
				t.Fatal(err)
			}
		}
		routes, all = append(routes, r), append(all, gate)
	}
	return g, specs, routes, all
}

func changesTo(routes []*Route, spec *filter.Spec) []Change {
	var c []Change
	for _, r := range routes {
		c = append(c, Change{r, spec})
	}
	return c
}

// Messages flow on 100 gates while their policy is swapped to and fro: each is
// judged by the one or the other, in both directions, and none is lost.
func TestSwapUnderLoad(t *testing.T) {
	const gates = 100
	g, specs, routes, all := swapTest(t, gates)
	var stop atomic.Bool
	var judged [2]atomic.Uint64 // by policy
	var wg sync.WaitGroup
	verdict := func(dir abi.Direction, block uint32) abi.VerdictWord {
		return abi.VerdictWord(binary.LittleEndian.Uint64(g.pages[dir][(int(block)*abi.PageBlock+abi.PageSlots)*8:]))
	}
	// exchange sends a message over a gate, and reports what was wrong.
	exchange := func(gate *Gate, dir abi.Direction, msg, buf []byte) string {
		from, to, block := gate.Client, gate.Server, gate.ClientBlock
		if dir == abi.Reply {
			from, to, block = to, from, gate.ServerBlock
		}
		if _, err := unix.Write(int(from.Fd()), msg); err != nil {
			return "write: " + err.Error()
		}
		v := verdict(dir, block)
		if v.Reason() != abi.ReasonPermit || v.Detail() > 1 {
			return "judged as: " + v.Reason().String()
		}
		if n, err := unix.Read(int(to.Fd()), buf); n != len(msg) {
			if err != nil {
				return "lost: " + err.Error()
			}
			return "cut"
		}
		judged[v.Detail()].Add(1)
		return ""
	}
	for w := range 2 {
		wg.Go(func() {
			buf := make([]byte, 64)
			for gen := uint16(0); !stop.Load(); gen++ {
				for i := w; i < gates; i += 2 {
					why := exchange(all[i], abi.Request, unary(0, gen, 5), buf)
					if why == "" {
						why = exchange(all[i], abi.Reply, message(abi.Header{Kind: abi.KindReply, Gen: gen}, vint(1, 1)), buf)
					}
					if why != "" {
						t.Errorf("gate %d, message %d: %s", i, gen, why)
						stop.Store(true)
						return
					}
				}
			}
		})
	}
	for i := range 10 {
		// Each policy has judged before the next swap: so all have messages on both sides.
		for before := judged[i%2].Load(); judged[i%2].Load() < before+2*gates && !stop.Load(); {
			runtime.Gosched()
		}
		if _, err := g.f.Swap(changesTo(routes, specs[(i+1)%2])); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d messages by the one policy, %d by the other", judged[0].Load(), judged[1].Load())
}

// The control of TestSwapUnderLoad: a swap that empties a slot before it fills
// it would be seen, by a message that no policy judges.
func TestSwapGapIsSeen(t *testing.T) {
	g, _, routes, all := swapTest(t, 1)
	g.gate = all[0]
	g.mustSend(abi.Request, unary(0, 1, 5))
	if err := g.f.programs.Delete(routes[0].slots[abi.Request]); err != nil {
		t.Fatal(err)
	}
	g.mustDeny(abi.Request, unary(1, 1, 5), abi.ReasonClosed)
}

// When Commit returns nobody is judged by the old policy any more; what was
// admitted before and is queued stays.
func TestSwapIsDone(t *testing.T) {
	g, specs, routes, all := swapTest(t, 10)
	for round := range 10 {
		for _, gate := range all {
			if _, err := unix.Write(int(gate.Client.Fd()), unary(uint16(round), 1, 5)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.f.Swap(changesTo(routes, specs[(round+1)%2])); err != nil {
			t.Fatal(err)
		}
		for i, gate := range all {
			g.gate = gate
			buf := make([]byte, 64)
			if n, err := unix.Read(int(gate.Server.Fd()), buf); n <= 0 {
				t.Fatalf("gate %d: what was queued before the swap is gone: %v", i, err)
			}
			g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: uint16(round), Gen: 1}, vint(1, 1)))
			if v := g.verdict(abi.Reply, uint16(round)); v.Detail() != uint32(round+1)%2 {
				t.Fatalf("gate %d: judged by policy %d after the swap", i, v.Detail())
			}
		}
	}
	if n := len(g.f.shared.byKey); n != 4 {
		t.Errorf("%d programs are loaded, want those of two policies", n)
	}
}

// A swap that cannot be prepared, or that comes too late, changes nothing.
func TestSwapChangesAllOrNothing(t *testing.T) {
	g, specs, routes, all := swapTest(t, 3)
	judgedBy := func(want uint32, slot uint16) {
		t.Helper()
		for i := range all {
			g.gate = all[i]
			g.mustSend(abi.Request, unary(slot, 1, 5))
			if v := g.verdict(abi.Request, slot); v.Detail() != want {
				t.Errorf("gate %d: judged by policy %d, want %d", i, v.Detail(), want)
			}
		}
	}
	before := len(g.f.shared.byKey)
	bad := *specs[1]
	bad.Programs[1].Words = [][]uint32{{7}}
	changes := changesTo(routes, specs[1])
	changes[2].Spec = &bad
	if _, err := g.f.Swap(changes); err == nil || !strings.Contains(err.Error(), "word of state 7") {
		t.Fatalf("a change that cannot be: %v", err)
	}
	judgedBy(0, 0)
	if n := len(g.f.shared.byKey); n != before {
		t.Errorf("%d programs are loaded, want %d", n, before)
	}
	if _, err := g.f.Swap(append(changesTo(routes, specs[1]), Change{routes[0], specs[0]})); err == nil {
		t.Error("a route was changed twice")
	}
	late, err := g.f.Prepare(changesTo(routes, specs[1]))
	if err != nil {
		t.Fatal(err)
	}
	if err := routes[2].Replace(specs[0]); err != nil {
		t.Fatal(err)
	}
	// The same programs: nothing has changed that the prepared swap does not know.
	if _, err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	judgedBy(1, 1)
	if _, err := late.Commit(); err == nil {
		t.Error("a swap was committed twice")
	}
	late, err = g.f.Prepare(changesTo(routes, specs[0]))
	if err != nil {
		t.Fatal(err)
	}
	other, err := filter.Build(echoImage(), 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := routes[2].Replace(other); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Commit(); err == nil {
		t.Error("a swap was committed over another")
	}
	all = all[:2]
	judgedBy(1, 2)
	// One that is closed meanwhile does not hold up the others.
	late, err = g.f.Prepare(changesTo(routes, specs[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := routes[2].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	judgedBy(0, 3)
}

// What a swap takes away is closed in both directions, seen on both pages, and cannot be opened again.
func TestSwapRevokes(t *testing.T) {
	g, specs, routes, all := swapTest(t, 2)
	if _, err := g.f.Swap([]Change{{routes[0], nil}, {routes[1], specs[1]}}); err != nil {
		t.Fatal(err)
	}
	g.gate = all[0]
	g.mustDeny(abi.Request, unary(0, 1, 5), abi.ReasonClosed)
	g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Gen: 1}, nil), abi.ReasonClosed)
	for _, dir := range []abi.Direction{abi.Request, abi.Reply} {
		if g.word(dir, 0)&abi.PageRevoked == 0 {
			t.Error("a gate that was taken away is not marked as revoked")
		}
	}
	if _, err := g.f.Open(routes[0]); err == nil {
		t.Error("a gate was opened on a route that was taken away")
	}
	if err := routes[0].Close(); err != nil {
		t.Error(err)
	}
	g.gate = all[1] // the control
	g.mustSend(abi.Request, unary(0, 1, 5))
}

// A thousand gates, each on a route of its own: swap-ns is the time from the
// first slot of the program array to the last, of 2,000.
func BenchmarkSwap1000(b *testing.B) {
	g, specs, routes, _ := swapTest(b, 1000)
	var took, worst time.Duration
	n := 0
	for b.Loop() {
		n++
		d, err := g.f.Swap(changesTo(routes, specs[n%2]))
		if err != nil {
			b.Fatal(err)
		}
		took += d
		worst = max(worst, d)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(n), "swap-ns")
	b.ReportMetric(float64(worst.Nanoseconds()), "worst-swap-ns")
}
