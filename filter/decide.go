package filter

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"ward/abi"
	"ward/image"
)

// A method is what the generator needs of one method's policy.
type method struct {
	decision image.Decision   // of all levels
	levels   []image.Decision // by level of a chain; one without
	caps     *captureSet
	effects  *effects
}

// verdictAudit is the bit of decide's result that asks for a record.
const verdictAudit = 1 << 8

// decide generates the policy of all methods of a direction:
//
//	u64 decide(struct __sk_buff *skb, struct walk *w)
//
// A message costs the instructions of its own method's policy, and a binary
// search for the method. R6 holds skb, R7 w.
func decide(methods []method, chain *Chain, dir abi.Direction) (asm.Instructions, error) {
	g := newGen("decide")
	deny := verdictWord(abi.ReasonDefault, abi.NoPolicy, false)
	g.prologue(deny)
	g.emit(asm.LoadMem(asm.R8, asm.R7, walkMethod, asm.Word))
	// Methods without any rule share one label.
	none := g.label()
	labels := make([]string, len(methods))
	var keys []uint64
	for i := range methods {
		labels[i] = none
		if len(methods[i].decision.Permit) > 0 || len(methods[i].decision.Forbid) > 0 {
			labels[i] = g.label()
		}
		keys = append(keys, uint64(i))
	}
	g.dispatch(keys, func(k uint64) string { return labels[k] }, none)
	for i, m := range methods {
		if labels[i] == none {
			continue
		}
		g.place(labels[i])
		g.caps, g.effects = m.caps, m.effects
		if chain.chained(m.levels) {
			g.levels(chain, m.levels, dir, deny)
			continue
		}
		g.rules(m.decision.Forbid, abi.ReasonForbid)
		if len(m.effects.quotas) > 0 || slices.ContainsFunc(m.decision.Permit, func(r image.Rule) bool { return hasEffect(&r) }) {
			g.permits(m.decision.Permit, deny)
			continue
		}
		g.rules(m.decision.Permit, abi.ReasonPermit)
		g.result(deny)
	}
	g.place(none)
	g.result(deny)
	return g.finish()
}

// rules tries each rule in order; the first that matches is the result.
func (g *gen) rules(rules []image.Rule, reason abi.Reason) {
	for i := range rules {
		r := &rules[i]
		match, next := g.label(), g.label()
		g.cond(&r.When, match, next, match)
		g.place(match)
		g.result(verdictWord(reason, r.Policy, r.Audit))
		g.place(next)
	}
}

func verdictWord(r abi.Reason, policy uint32, audit bool) uint64 {
	v := uint64(r) | uint64(policy)<<32
	if audit {
		v |= verdictAudit
	}
	return v
}

// check generates the rules on strings:
//
//	int check(struct __sk_buff *skb, struct walk *w)
//
// It returns 0 if rule w->check-1 holds for the string w->val, else the number of the field.
func check(rules []rule) (asm.Instructions, error) {
	g := newGen("check")
	g.prologue(1)
	g.emit(asm.LoadMem(asm.R8, asm.R7, walkCheck, asm.Half), asm.And.Imm(asm.R8, maxRules))
	ok := g.label()
	labels := map[uint64]string{}
	var keys []uint64
	for i := range rules {
		labels[uint64(i+1)] = g.label()
		keys = append(keys, uint64(i+1))
	}
	bad := g.label()
	g.dispatch(keys, func(k uint64) string { return labels[k] }, bad)
	for i, r := range rules {
		g.place(labels[uint64(i+1)])
		s := str{walkVal}
		fail := g.label()
		for _, part := range []struct {
			text string
			gen  func(str, string, string, string, string)
		}{{r.field.Prefix, g.hasPrefix}, {r.field.Suffix, g.hasSuffix}} {
			if part.text == "" {
				continue
			}
			next := g.label()
			part.gen(s, part.text, next, fail, next)
			g.place(next)
		}
		if len(r.field.In) > 0 && !largeIn(r.field) {
			g.inStrings(s, r.field.In, ok, fail)
		} else {
			g.jump(ok)
		}
		g.place(fail)
		g.result(uint64(r.number))
	}
	g.place(bad)
	g.result(1)
	g.place(ok)
	g.result(0)
	return g.finish()
}

// cond jumps to yes if e holds, else to no; next is the label placed after it,
// to which it falls through instead.
func (g *gen) cond(e *image.Expr, yes, no, next string) {
	switch e.Op {
	case image.True:
		g.jumpUnless(yes, next)
	case image.False:
		g.jumpUnless(no, next)
	case image.And, image.Or:
		for i := range e.Args {
			if i == len(e.Args)-1 {
				g.cond(&e.Args[i], yes, no, next)
				return
			}
			more := g.label()
			if e.Op == image.And {
				g.cond(&e.Args[i], more, no, more)
			} else {
				g.cond(&e.Args[i], yes, more, more)
			}
			g.place(more)
		}
	case image.Not:
		g.cond(&e.Args[0], no, yes, next)
	case image.If:
		a, b := g.label(), g.label()
		g.cond(&e.Args[0], a, b, a)
		g.place(a)
		g.cond(&e.Args[1], yes, no, b)
		g.place(b)
		g.cond(&e.Args[2], yes, no, next)
	case image.Has:
		slot := g.caps.slot(e.Path, false)
		g.emit(asm.LoadMem(asm.R1, asm.R7, walkPresent, asm.Half))
		g.branch(asm.JSet.Imm(asm.R1, 1<<slot, yes), yes, no, next)
	case image.Eq:
		if l, r, ok := stringOperands(e); ok {
			g.equal(g.str(l), r, yes, no, next)
			return
		}
		g.long(asm.R1, e.Left)
		g.compare(asm.JEq, e.Right, yes, no, next)
	case image.Less:
		g.long(asm.R1, e.Left)
		g.compare(asm.JSLT, e.Right, yes, no, next)
	case image.LessEq:
		g.long(asm.R1, e.Left)
		g.compare(asm.JSLE, e.Right, yes, no, next)
	case image.Like, image.AnyIn, image.AnyOut:
		g.seen(e, yes, no, next)
	case image.In:
		if e.Tabled() {
			g.seen(e, yes, no, next)
			return
		}
		if e.Set[0].IsString {
			var set []string
			for _, v := range e.Set {
				set = append(set, v.String)
			}
			g.inStrings(g.str(e.Left), set, yes, no)
			return
		}
		var set []int64
		for _, v := range e.Set {
			set = append(set, v.Long)
		}
		g.long(asm.R1, e.Left)
		g.inLongs(set, yes, no)
	case image.Prefix:
		g.hasPrefix(g.str(e.Left), e.Right.Value.String, yes, no, next)
	case image.Suffix:
		g.hasSuffix(g.str(e.Left), e.Right.Value.String, yes, no, next)
	default:
		g.fail(fmt.Errorf("operation %d in a condition", e.Op))
	}
}

// stringOperands returns the parameter and the constant of a comparison of strings.
func stringOperands(e *image.Expr) (image.Operand, string, bool) {
	switch {
	case e.Right.What == image.Constant && e.Right.Value.IsString:
		return e.Left, e.Right.Value.String, true
	case e.Left.What == image.Constant && e.Left.Value.IsString:
		return e.Right, e.Left.Value.String, true
	}
	return image.Operand{}, "", false
}

// long loads an operand into dst.
func (g *gen) long(dst asm.Register, o image.Operand) {
	switch o.What {
	case image.Constant:
		g.load(dst, o.Value.Long)
	case image.Scalar, image.Count:
		g.emit(asm.LoadMem(dst, asm.R7, g.capture(o), asm.DWord))
	case image.CellValue:
		g.cell(dst, o.Cell)
	case image.Size:
		g.emit(asm.LoadMem(dst, asm.R7, g.capture(o), asm.Word))
	default:
		g.fail(fmt.Errorf("operand %d in a condition", o.What))
	}
}

// compare compares R1 with an operand.
func (g *gen) compare(op asm.JumpOp, o image.Operand, yes, no, next string) {
	if o.What == image.Constant && o.Value.Long == int64(int32(o.Value.Long)) {
		g.branch(op.Imm(asm.R1, int32(o.Value.Long), yes), yes, no, next)
		return
	}
	g.long(asm.R2, o)
	g.branch(op.Reg(asm.R1, asm.R2, yes), yes, no, next)
}

// capture returns the offset in struct walk of what an operand is captured in.
func (g *gen) capture(o image.Operand) int16 {
	return walkCap + 8*int16(g.caps.slot(o.Path, o.What == image.Count))
}

func (g *gen) str(o image.Operand) str { return str{g.capture(o)} }
