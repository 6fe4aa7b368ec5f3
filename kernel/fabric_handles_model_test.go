package kernel

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// A modelHandle is what handles are, written down a second time.
type modelHandle struct {
	HandleOffer
	gate  *Gate
	state HandleState
}

// A handleModel offers, sends, takes and ends handles on several gates at random,
// and says what must become of each.
type handleModel struct {
	*gateTest
	r       *rand.Rand
	rows    int
	gates   []*Gate
	handles map[uint64]*modelHandle
	ids     []uint64 // of handles, in the order in which they were made
	aim     uint64   // what the next messages rather carry
	counts  map[string]int
}

func (m *handleModel) inUse() (n int) {
	for _, h := range m.handles {
		if h.state != HandleGone {
			n++
		}
	}
	return n
}

// some returns the number of a handle, or any.
func (m *handleModel) some() uint64 {
	if len(m.ids) == 0 || m.r.IntN(20) == 0 {
		return m.r.Uint64() >> m.r.IntN(64)
	}
	for range 3 { // rather one that is not gone
		if id := m.ids[m.r.IntN(len(m.ids))]; m.handles[id].state != HandleGone {
			return id
		}
	}
	return m.ids[m.r.IntN(len(m.ids))]
}

// claimed makes a claim, most often a right one.
func (m *handleModel) claimed() claim {
	id := m.some()
	if m.r.IntN(4) > 0 {
		id = m.aim
	}
	c := claim{id: max(id, 1), kind: 1, size: 4096}
	if h := m.handles[id]; h != nil {
		c.kind, c.size, c.write = uint64(h.Kind), h.Size, h.Write
	}
	switch m.r.IntN(16) {
	case 0:
		c.id = max(c.id^1<<m.r.IntN(63), 1)
	case 1:
		c.kind = []uint64{0, 1, 2, 9}[m.r.IntN(4)]
	case 2:
		c.size ^= 1 << m.r.IntN(62)
	case 3:
		c.write = !c.write
	}
	if c.id > 1<<63-1 {
		c.id >>= 1
	}
	if c.size > 1<<63-1 {
		c.size >>= 1
	}
	return c
}

// holds reports whether a message of the gate may say so, and of what.
func (m *handleModel) holds(g *Gate, dir abi.Direction, c claim) *modelHandle {
	h := m.handles[c.id]
	if h == nil || h.state != HandleOffered || h.gate != g || h.Dir != dir || uint64(h.Kind) != c.kind || h.Size != c.size || h.Write != c.write {
		return nil
	}
	return h
}

// message sends a message with or without a handle, and returns whether it was admitted.
func (m *handleModel) message(dir abi.Direction, kind abi.Kind, gen uint16) bool {
	m.t.Helper()
	width := []uint64{0, 0, 0, 1, 9}[m.r.IntN(5)]
	if dir == abi.Reply {
		width = 0
	}
	body := vint(1, width)
	want := abi.ReasonPermit
	if width == 9 {
		want = abi.ReasonDefault
	}
	var h *modelHandle
	var c claim
	if m.r.IntN(4) > 0 {
		c = m.claimed()
		body = cat(body, c.field())
		if h = m.holds(m.gate, dir, c); h == nil {
			want = abi.ReasonHandle
		}
	}
	got := m.send(dir, message(abi.Header{Kind: kind, Slot: 1, Gen: gen}, body))
	if v := m.verdict(dir, 1); v.Reason() != want || v.Gen() != gen {
		m.t.Fatalf("%v of gate %d with %+v: %v, want %v", dir, m.gate.Index, c, v.Reason(), want)
	}
	arrived := len(got) == abi.HeaderSize+len(body)
	if arrived != want.Allowed() {
		m.t.Fatalf("%v: received %x", want, got)
	}
	if arrived && h != nil {
		h.state = HandleAdmitted
		m.counts["sent"]++
	}
	if want == abi.ReasonHandle {
		m.counts["refused"]++
	}
	return arrived
}

func (m *handleModel) step(i int) {
	m.t.Helper()
	m.gate = m.gates[m.r.IntN(len(m.gates))]
	switch op := m.r.IntN(60); {
	case op < 14:
		o := HandleOffer{Dir: abi.Direction(m.r.IntN(2)), Kind: abi.HandleKind(1 + m.r.IntN(2)), Size: m.r.Uint64() >> (1 + m.r.IntN(62)), Write: m.r.IntN(2) == 0}
		id, err := m.gate.Offer(o)
		if full := m.inUse() == m.rows; errors.Is(err, ErrNoHandles) != full || err != nil && !full {
			m.t.Fatalf("step %d: %d of %d handles, offer: %v", i, m.inUse(), m.rows, err)
		}
		if err != nil {
			m.counts["full"]++
			return
		}
		if m.handles[id] != nil {
			m.t.Fatalf("step %d: handle %#x a second time", i, id)
		}
		m.handles[id] = &modelHandle{HandleOffer: o, gate: m.gate, state: HandleOffered}
		m.ids = append(m.ids, id)
	case op < 40:
		gen := uint16(i)
		m.aim = m.some()
		if h := m.handles[m.aim]; h != nil && h.state != HandleGone && m.r.IntN(8) > 0 {
			m.gate = h.gate
		}
		if !m.message(abi.Request, abi.KindCall, gen) {
			return
		}
		m.message(abi.Reply, abi.KindReply, gen) // denied or not, the call has ended
	case op < 48:
		id := m.some()
		h := m.handles[id]
		want := h != nil && h.state == HandleAdmitted
		if got, err := m.f.TakeHandle(id); err != nil || got != want {
			m.t.Fatalf("step %d: take %#x: %v, %v; want %v", i, id, got, err, want)
		}
		if want {
			h.state = HandleGone
			m.counts["taken"]++
		}
	case op < 59:
		id := m.some()
		if err := m.f.ForgetHandle(id); err != nil {
			m.t.Fatal(err)
		}
		if h := m.handles[id]; h != nil {
			h.state = HandleGone
		}
	default:
		m.renew()
	}
}

// renew ends the gate, and opens another in its place.
func (m *handleModel) renew() {
	m.t.Helper()
	old := m.gate
	if m.r.IntN(2) == 0 {
		if err := old.Revoke(); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		m.t.Fatal(err)
	}
	old.Client.Close()
	old.Server.Close()
	for _, h := range m.handles {
		if h.gate == old {
			h.state = HandleGone
		}
	}
	for i := range m.gates {
		if m.gates[i] == old {
			m.gates[i] = m.another()
		}
	}
	m.counts["gates"]++
}

func (m *handleModel) another() *Gate {
	m.t.Helper()
	g, err := m.f.Open(m.route)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range []int{int(g.Client.Fd()), int(g.Server.Fd())} {
		if err := unix.SetNonblock(f, true); err != nil {
			m.t.Fatal(err)
		}
	}
	return g
}

// The filter and Go's bookkeeping agree with the model on thousands of random steps.
func TestHandlesModel(t *testing.T) {
	for seed := range uint64(3) {
		img := handleImage(image.Rule{}, enters(cSession, 1))
		m := &handleModel{gateTest: handleTest(t, img, FabricConfig{Gates: 8, Handles: 6}), r: rand.New(rand.NewPCG(seed, 7)),
			rows: 6, handles: map[uint64]*modelHandle{}, counts: map[string]int{}}
		for range 3 {
			m.gates = append(m.gates, m.another())
		}
		for i := range 4000 {
			m.step(i)
			if i%50 == 0 {
				for id, h := range m.handles {
					m.handleIs(id, h.state)
				}
			}
			if len(m.ids) > 60 {
				m.ids = slices.DeleteFunc(m.ids, func(id uint64) bool { return m.handles[id].state == HandleGone })
				maps.DeleteFunc(m.handles, func(_ uint64, h *modelHandle) bool { return h.state == HandleGone })
			}
		}
		t.Log(m.counts)
		for _, what := range []string{"sent", "refused", "taken", "full", "gates"} {
			if m.counts[what] == 0 {
				t.Errorf("nothing was %s", what)
			}
		}
		for _, g := range m.gates {
			g.Client.Close()
			g.Server.Close()
		}
	}
}
