package filter

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"ward/abi"
	"ward/image"
)

// A Rate is a bucket that a method's messages are charged to.
type Rate struct {
	// Bucket names the bucket among those of one sender: policy, method and
	// direction. All programs that judge what that sender sends share it.
	Bucket string
	Sender string // whose bucket it is, if not of who sends
	Once   bool   // it is of use only while a program charges it
	Policy uint32
	Every  uint64 // ns that a token takes to come
	Burst  uint32 // tokens at most
}

// RateRow is the size of a row of the table rates, bytes.
const RateRow = 24

// AppendRow appends the row of r, whose bucket is row number bucket of buckets.
func (r *Rate) AppendRow(b []byte, bucket uint32) []byte {
	b = le64(b, r.Every, r.Every*uint64(r.Burst))
	b = binary.LittleEndian.AppendUint32(b, bucket)
	return binary.LittleEndian.AppendUint32(b, r.Policy)
}

// Effective reports whether the program looks at state or has effects, so
// that it is made from another template. A handle that goes with a message is an
// effect, and so is that nobody answers a call.
func (p *Program) Effective() bool { return p.NWords > 0 || p.NRates > 0 || p.Objects() }

// effects is what the decision of one method looks at and does beside its message.
type effects struct {
	img   *image.Image
	words []uint32 // as image.Cell.Word, in the order of struct effects: those that change first
	// rateOf is, for each permit with a rate, its bucket among those of the method.
	rateOf []int
	rates  int // permits with a rate so far
	// quotas are the buckets that every admitted message is charged to.
	quotas []int
}

// index returns the place of a cell's word.
func (e *effects) index(cell uint32) int { return slices.Index(e.words, e.img.Cells[cell].Word) }

func hasEffect(r *image.Rule) bool { return len(r.Enter) > 0 || r.Rate != (image.Rate{}) }

// stateOf collects the words of state of d.
func stateOf(img *image.Image, d image.Decision) (*effects, error) {
	e := &effects{img: img}
	add := func(from int, cell uint32) {
		if w := img.Cells[cell].Word; !slices.Contains(e.words, w) {
			e.words = append(e.words, w)
			slices.Sort(e.words[from:])
		}
	}
	for i := range d.Permit {
		for _, n := range d.Permit[i].Enter {
			add(0, n.Cell)
		}
	}
	changed := len(e.words)
	var walk func(x *image.Expr)
	walk = func(x *image.Expr) {
		for _, o := range []image.Operand{x.Left, x.Right} {
			if o.What == image.CellValue {
				add(changed, o.Cell)
			}
		}
		for i := range x.Args {
			walk(&x.Args[i])
		}
	}
	for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
		for i := range rules {
			walk(&rules[i].When)
		}
	}
	if len(e.words) > Words {
		return nil, fmt.Errorf("its policies look at %d words of state, the limit is %d; look at fewer states, or split the method", len(e.words), Words)
	}
	return e, nil
}

// permits tries all permits of a method that has effects. R9 is the verdict:
// that of the first that matches, 0 as long as there is none. A later permit
// matters only if it has an effect.
func (g *gen) permits(rules []image.Rule, deny uint64) {
	g.emit(asm.Mov.Imm(asm.R9, 0))
	for i := range rules {
		r := &rules[i]
		match, next := g.label(), g.label()
		if !hasEffect(r) {
			g.emit(asm.JNE.Imm(asm.R9, 0, next))
		}
		g.cond(&r.When, match, next, match)
		g.place(match)
		if hasEffect(r) {
			known := g.label()
			g.emit(asm.JNE.Imm(asm.R9, 0, known))
			g.load(asm.R9, int64(verdictWord(abi.ReasonPermit, r.Policy, false)))
			g.place(known)
			if r.Audit {
				g.emit(asm.Or.Imm(asm.R9, verdictAudit))
			}
			g.effect(r)
		} else {
			g.load(asm.R9, int64(verdictWord(abi.ReasonPermit, r.Policy, r.Audit)))
		}
		g.place(next)
	}
	none := g.label()
	g.emit(asm.JEq.Imm(asm.R9, 0, none))
	g.chargeQuotas()
	g.emit(asm.Mov.Reg(asm.R0, asm.R9), asm.Return())
	g.place(none)
	g.result(deny)
}

// effect notes what a permit that matches does, or denies.
func (g *gen) effect(r *image.Rule) {
	if r.Rate != (image.Rate{}) {
		g.charge()
	}
	if len(r.Enter) == 0 {
		return
	}
	fail, done := g.label(), g.label()
	for _, n := range r.Enter {
		g.enter(n, fail)
	}
	g.jump(done)
	g.place(fail)
	g.result(verdictWord(abi.ReasonState, r.Policy, r.Audit))
	g.place(done)
}

// charge notes that the next bucket of the method gives a token.
func (g *gen) charge() {
	g.chargeBucket(g.effects.rateOf[g.effects.rates])
	g.effects.rates++
}

func (g *gen) chargeBucket(i int) {
	g.emit(asm.LoadMem(asm.R1, asm.R7, walkRates, asm.Word), asm.Or.Imm(asm.R1, 1<<i), asm.StoreMem(asm.R7, walkRates, asm.R1, asm.Word))
}

// enter gives a cell a value: a move from the value that the decision sees must
// be declared, one message changes one word, and no cell gets two values.
func (g *gen) enter(n image.Enter, fail string) {
	cell := &g.effects.img.Cells[n.Cell]
	word := g.effects.index(n.Cell)
	from := []int64{int64(n.Value)} // staying is always allowed
	for _, m := range g.effects.img.States[cell.State].Moves {
		if m.To == n.Value {
			from = append(from, int64(m.From))
		}
	}
	slices.Sort(from)
	moves, mine, fresh, done := g.label(), g.label(), g.label(), g.label()
	g.emit(asm.LoadMem(asm.R1, asm.R7, walkTarget, asm.Word), asm.JEq.Imm(asm.R1, 0, mine), asm.JNE.Imm(asm.R1, int32(word+1), fail))
	g.place(mine)
	g.emit(asm.Mov.Imm(asm.R1, int32(word+1)), asm.StoreMem(asm.R7, walkTarget, asm.R1, asm.Word))
	g.cell(asm.R1, n.Cell)
	g.inLongs(from, moves, fail)
	g.place(moves)
	g.load(asm.R2, int64(cell.Mask()))
	g.load(asm.R4, int64(uint64(n.Value)<<cell.Shift))
	g.emit(asm.LoadMem(asm.R1, asm.R7, walkMask, asm.DWord), asm.LoadMem(asm.R3, asm.R7, walkNext, asm.DWord),
		asm.Mov.Reg(asm.R5, asm.R1), asm.And.Reg(asm.R5, asm.R2), asm.JEq.Imm(asm.R5, 0, fresh),
		asm.And.Reg(asm.R3, asm.R2), asm.JNE.Reg(asm.R3, asm.R4, fail))
	g.jump(done)
	g.place(fresh)
	g.emit(asm.Or.Reg(asm.R1, asm.R2), asm.StoreMem(asm.R7, walkMask, asm.R1, asm.DWord),
		asm.Or.Reg(asm.R3, asm.R4), asm.StoreMem(asm.R7, walkNext, asm.R3, asm.DWord))
	g.place(done)
}

// cell loads the value of a cell, as the decision sees it.
func (g *gen) cell(dst asm.Register, cell uint32) {
	c := &g.effects.img.Cells[cell]
	g.emit(asm.LoadMem(dst, asm.R7, int16(walkWord+8*g.effects.index(cell)), asm.DWord),
		asm.LSh.Imm(dst, int32(64-c.Shift-c.Bits)), asm.RSh.Imm(dst, int32(64-c.Bits)))
}
