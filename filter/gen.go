package filter

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// A gen emits one function. Its labels are symbols that start with its name.
type gen struct {
	name    string
	ins     asm.Instructions
	labels  int
	here    []string // labels of the next instruction
	caps    *captureSet
	effects *effects
	err     error
	alias   map[string]string
}

// A str is a captured string: struct walk holds its offset in the packet << 32 | its length there.
type str struct{ at int16 }

// chunk is the number of bytes that a comparison keeps on the stack: a
// multiple of 8, small because all frames of a filter share 512 bytes.
const chunk = 32

func newGen(name string) *gen { return &gen{name: name, alias: map[string]string{}} }

func (g *gen) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

func (g *gen) label() string {
	g.labels++
	return fmt.Sprintf("%s_%d", g.name, g.labels)
}

// place makes the next instruction the target of a label.
func (g *gen) place(l string) { g.here = append(g.here, l) }

func (g *gen) emit(ins ...asm.Instruction) {
	for _, in := range ins {
		if len(g.here) > 0 {
			// An instruction has one symbol; further labels stand for it.
			for _, l := range g.here[1:] {
				g.alias[l] = g.here[0]
			}
			in = in.WithSymbol(g.here[0])
			g.here = nil
		}
		g.ins = append(g.ins, in)
	}
}

// prologue keeps the arguments, and returns absent if there is no walk.
func (g *gen) prologue(absent uint64) {
	g.here = []string{g.name}
	ok := g.label()
	g.emit(asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Reg(asm.R7, asm.R2), asm.JNE.Imm(asm.R7, 0, ok))
	g.result(absent)
	g.place(ok)
}

// result returns v.
func (g *gen) result(v uint64) {
	g.load(asm.R0, int64(v))
	g.emit(asm.Return())
}

func (g *gen) load(dst asm.Register, v int64) {
	if v == int64(int32(v)) {
		g.emit(asm.Mov.Imm(dst, int32(v)))
		return
	}
	g.emit(asm.LoadImm(dst, v, asm.DWord))
}

func (g *gen) jump(l string) { g.emit(asm.Ja.Label(l)) }

func (g *gen) jumpUnless(l, next string) {
	if l != next {
		g.jump(l)
	}
}

// branch emits a conditional jump to yes, and goes to no otherwise.
func (g *gen) branch(j asm.Instruction, yes, no, next string) {
	if yes == next {
		if inv, ok := invert(j); ok {
			g.emit(inv.WithReference(no))
			return
		}
	}
	g.emit(j)
	g.jumpUnless(no, next)
}

// invert returns the jump for the opposite condition, if there is one.
func invert(j asm.Instruction) (asm.Instruction, bool) {
	opposite := map[asm.JumpOp]asm.JumpOp{
		asm.JEq: asm.JNE, asm.JNE: asm.JEq, asm.JSLT: asm.JSGE, asm.JSGE: asm.JSLT,
		asm.JSLE: asm.JSGT, asm.JSGT: asm.JSLE, asm.JLT: asm.JGE, asm.JGE: asm.JLT, asm.JLE: asm.JGT, asm.JGT: asm.JLE,
	}
	op, ok := opposite[j.OpCode.JumpOp()]
	if !ok {
		return j, false
	}
	j.OpCode = j.OpCode.SetJumpOp(op)
	return j, true
}

// finish resolves labels and checks the size.
func (g *gen) finish() (asm.Instructions, error) {
	if g.err != nil {
		return nil, g.err
	}
	for i := range g.ins {
		if to, ok := g.alias[g.ins[i].Reference()]; ok {
			g.ins[i] = g.ins[i].WithReference(to)
		}
	}
	g.prune()
	if len(g.ins) > MaxDecide {
		return nil, fmt.Errorf("the policy of one direction needs %d instructions, the limit is %d; use smaller sets or fewer conditions", len(g.ins), MaxDecide)
	}
	return g.ins, nil
}

// prune removes instructions that cannot be reached: the verifier refuses them.
func (g *gen) prune() {
	at := map[string]int{}
	for i := range g.ins {
		if s := g.ins[i].Symbol(); s != "" {
			at[s] = i
		}
	}
	live := make([]bool, len(g.ins))
	for work := []int{0}; len(work) > 0; {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		if live[i] {
			continue
		}
		live[i] = true
		op := g.ins[i].OpCode
		jump := op.Class().IsJump() && op.JumpOp() != asm.Call && op.JumpOp() != asm.Exit
		if jump {
			work = append(work, at[g.ins[i].Reference()])
		}
		if !op.Class().IsJump() || op.JumpOp() != asm.Exit && op.JumpOp() != asm.Ja {
			work = append(work, i+1)
		}
	}
	kept := g.ins[:0]
	for i, in := range g.ins {
		if live[i] {
			kept = append(kept, in)
		}
	}
	g.ins = kept
}

// dispatch jumps to the label of the key that R8 equals, else to none. Keys
// are ascending and fit 31 bits.
func (g *gen) dispatch(keys []uint64, label func(uint64) string, none string) {
	switch {
	case len(keys) == 0:
		g.jump(none)
	case len(keys) <= 3:
		for _, k := range keys {
			g.emit(asm.JEq.Imm(asm.R8, int32(k), label(k)))
		}
		g.jump(none)
	default:
		mid := len(keys) / 2
		right := g.label()
		g.emit(asm.JGE.Imm(asm.R8, int32(keys[mid]), right))
		g.dispatch(keys[:mid], label, none)
		g.place(right)
		g.dispatch(keys[mid:], label, none)
	}
}

// jumpIf compares R1 with a constant.
func (g *gen) jumpIf(op asm.JumpOp, v int64, to string) {
	if v == int64(int32(v)) {
		g.emit(op.Imm(asm.R1, int32(v), to))
		return
	}
	g.load(asm.R2, v)
	g.emit(op.Reg(asm.R1, asm.R2, to))
}

// inLongs jumps to yes if R1 is in set, which is sorted: a binary search over
// its intervals.
func (g *gen) inLongs(set []int64, yes, no string) {
	var spans [][2]int64
	for _, v := range set {
		if n := len(spans); n > 0 && spans[n-1][1] == v-1 {
			spans[n-1][1] = v
			continue
		}
		spans = append(spans, [2]int64{v, v})
	}
	g.search(spans, yes, no)
}

func (g *gen) search(spans [][2]int64, yes, no string) {
	if len(spans) > 2 {
		mid := len(spans) / 2
		right := g.label()
		g.jumpIf(asm.JSGE, spans[mid][0], right)
		g.search(spans[:mid], yes, no)
		g.place(right)
		g.search(spans[mid:], yes, no)
		return
	}
	for _, s := range spans {
		if s[0] == s[1] {
			g.jumpIf(asm.JEq, s[0], yes)
			continue
		}
		out := g.label()
		g.jumpIf(asm.JSLT, s[0], out)
		g.jumpIf(asm.JSLE, s[1], yes)
		g.place(out)
	}
	g.jump(no)
}

// equal jumps to yes if s is text.
func (g *gen) equal(s str, text string, yes, no, next string) {
	g.emit(asm.LoadMem(asm.R1, asm.R7, s.at, asm.Word))
	if text == "" {
		g.branch(asm.JEq.Imm(asm.R1, 0, yes), yes, no, next)
		return
	}
	g.emit(asm.JNE.Imm(asm.R1, int32(len(text)), no))
	g.bytes(s, 0, false, text, no)
	g.jumpUnless(yes, next)
}

func (g *gen) hasPrefix(s str, text, yes, no, next string) {
	g.emit(asm.LoadMem(asm.R1, asm.R7, s.at, asm.Word), asm.JLT.Imm(asm.R1, int32(len(text)), no))
	g.bytes(s, 0, false, text, no)
	g.jumpUnless(yes, next)
}

func (g *gen) hasSuffix(s str, text, yes, no, next string) {
	g.emit(asm.LoadMem(asm.R1, asm.R7, s.at, asm.Word), asm.JLT.Imm(asm.R1, int32(len(text)), no))
	g.bytes(s, -len(text), true, text, no)
	g.jumpUnless(yes, next)
}

// bytes jumps to no unless text stands in s at offset at, from its end if so
// wanted. The string is known to be long enough.
func (g *gen) bytes(s str, at int, fromEnd bool, text, no string) {
	for off := 0; off < len(text); off += chunk {
		part := text[off:min(off+chunk, len(text))]
		g.fetch(s, at+off, fromEnd, len(part), no)
		for i := 0; i < len(part); {
			i += g.word(part, i, 0, no)
		}
	}
}

// fetch copies n bytes of s to the top of the stack.
func (g *gen) fetch(s str, at int, fromEnd bool, n int, no string) {
	g.emit(asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMem(asm.R2, asm.R7, s.at+4, asm.Word))
	if fromEnd {
		g.emit(asm.LoadMem(asm.R3, asm.R7, s.at, asm.Word), asm.Add.Reg(asm.R2, asm.R3))
	}
	if at != 0 {
		g.emit(asm.Add.Imm(asm.R2, int32(at)))
	}
	g.emit(asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -chunk), asm.Mov.Imm(asm.R4, int32(n)),
		asm.FnSkbLoadBytes.Call(), asm.JSLT.Imm(asm.R0, 0, no))
}

func (g *gen) jumpIfNot(v uint64, no string) { g.jumpIf(asm.JNE, int64(v), no) }

// piece is the number that a little-endian load of s gives.
func piece(s string) uint64 {
	var b [8]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint64(b[:])
}

// inStrings jumps to yes if s is in set, else to no: a binary search for the
// length, then for the first bytes, eight at a time.
func (g *gen) inStrings(s str, set []string, yes, no string) {
	byLen := map[uint64][]string{}
	var lens []uint64
	for _, t := range set {
		n := uint64(len(t))
		if byLen[n] == nil {
			lens = append(lens, n)
		}
		byLen[n] = append(byLen[n], t)
	}
	slices.Sort(lens)
	g.emit(asm.LoadMem(asm.R8, asm.R7, s.at, asm.Word))
	labels := map[uint64]string{}
	for _, n := range lens {
		labels[n] = g.label()
	}
	g.dispatch(lens, func(k uint64) string { return labels[k] }, no)
	for _, n := range lens {
		g.place(labels[n])
		if n == 0 {
			g.jump(yes)
			continue
		}
		g.fetch(s, 0, false, int(min(n, chunk)), no)
		g.prefixes(s, byLen[n], 0, yes, no)
	}
}

// prefixes finds the string among set, all of one length and equal up to at.
// The chunk that begins at or before at is on the stack.
func (g *gen) prefixes(s str, set []string, at int, yes, no string) {
	n := len(set[0])
	if at == n {
		g.jump(yes)
		return
	}
	if at > 0 && at%chunk == 0 {
		g.fetch(s, at, false, min(n-at, chunk), no)
	}
	if len(set) == 1 {
		rest := set[0][at:min(n, (at/chunk+1)*chunk)]
		for i := 0; i < len(rest); {
			i += g.word(rest, i, at%chunk, no)
		}
		if end := at + len(rest); end < n {
			g.bytes(s, end, false, set[0][end:], no)
		}
		g.jump(yes)
		return
	}
	size, w := asm.DWord, 8
	switch left := n - at; {
	case left < 2:
		size, w = asm.Byte, 1
	case left < 4:
		size, w = asm.Half, 2
	case left < 8:
		size, w = asm.Word, 4
	}
	groups := map[uint64][]string{}
	var keys []uint64
	for _, t := range set {
		k := piece(t[at : at+w])
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], t)
	}
	slices.Sort(keys)
	g.emit(asm.LoadMem(asm.R1, asm.RFP, int16(at%chunk-chunk), size))
	labels := map[uint64]string{}
	for _, k := range keys {
		labels[k] = g.label()
	}
	g.pick(keys, labels, no)
	for _, k := range keys {
		g.place(labels[k])
		g.prefixes(s, groups[k], at+w, yes, no)
	}
}

// word compares the longest piece of text from i on that one load takes, and
// returns its length. The text stands at base in the chunk.
func (g *gen) word(text string, i, base int, no string) int {
	size, n := asm.Byte, 1
	switch left := len(text) - i; {
	case left >= 8:
		size, n = asm.DWord, 8
	case left >= 4:
		size, n = asm.Word, 4
	case left >= 2:
		size, n = asm.Half, 2
	}
	g.emit(asm.LoadMem(asm.R1, asm.RFP, int16(base+i-chunk), size))
	g.jumpIfNot(piece(text[i:i+n]), no)
	return n
}

// pick jumps to the label of the key that R1 equals, unsigned, else to no.
func (g *gen) pick(keys []uint64, labels map[uint64]string, no string) {
	if len(keys) <= 3 {
		for _, k := range keys {
			g.jumpIf(asm.JEq, int64(k), labels[k])
		}
		g.jump(no)
		return
	}
	mid := len(keys) / 2
	right := g.label()
	g.jumpIf(asm.JGE, int64(keys[mid]), right)
	g.pick(keys[:mid], labels, no)
	g.place(right)
	g.pick(keys[mid:], labels, no)
}
