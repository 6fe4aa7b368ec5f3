package main

// Mutations of what remembers: state, rates, and what is asked of values while
// they are read; and of the models and of trust.

const (
	effectsGo  = "filter/effects.go"
	containsGo = "filter/contains.go"
	effectsH   = "filter/bpf/effects.h"
	seenH      = "filter/bpf/seen.h"
	layoutGo   = "policy/layout.go"
	trustGo    = "policy/trust.go"
)

var effectMutations = []mutation{
	// State, in the filter.
	{what: "a move that is not declared is admitted", file: effectsGo, old: "g.inLongs(from, moves, fail)", new: "g.inLongs(from, moves, moves)"},
	{what: "staying as it is counts as a move", file: effectsGo, old: "from := []int64{int64(n.Value)} // staying", new: "from := []int64{-1} // staying"},
	{what: "only the first permit has its effects", file: effectsGo, old: "if !hasEffect(r) {\n\t\t\tg.emit(asm.JNE", new: "if r != nil {\n\t\t\tg.emit(asm.JNE"},
	{what: "one message changes two words", file: effectsGo, old: "asm.JNE.Imm(asm.R1, int32(word+1), fail)", new: "asm.JNE.Imm(asm.R1, int32(word+1), mine)"},
	{what: "of two values for one cell any will do", file: effectsGo, old: "asm.And.Reg(asm.R3, asm.R2), asm.JNE.Reg(asm.R3, asm.R4, fail))", new: "asm.And.Reg(asm.R3, asm.R2))"},
	{what: "a cell is read one bit off", file: effectsGo, old: "asm.LSh.Imm(dst, int32(64-c.Shift-c.Bits))", new: "asm.LSh.Imm(dst, int32(63-c.Shift-c.Bits))"},
	{what: "a cell takes its neighbour's bit with it", file: "image/checkstate.go", old: "return (1<<c.Bits - 1) << c.Shift }", new: "return (2<<c.Bits - 1) << c.Shift }"},
	{what: "the word that was changed is not the one that is told", file: messageH, old: "__u32 i = w->e.target ? w->e.target - 1 : 0;", new: "__u32 i = 0;"},
	{what: "state changes by a plain store", file: effectsH, old: "if (!p || __sync_val_compare_and_swap(p, old, next) != old) {", new: "if (!p || (*(volatile __u64 *)p = next, 0)) {"},
	{what: "a change of state is not counted", file: effectsH, old: "next += 1ULL << STATE_BITS;", new: ""},
	{what: "commit before the decision: what is denied changes state", file: gateC, old: "if (w->reason != REASON_PERMIT || !(objects ? settle_objects(skb, w) : settle(skb, w)))", new: "if (!(objects ? settle_objects(skb, w) : settle(skb, w)) || w->reason != REASON_PERMIT)"},
	{what: "the record tells the word as it was", file: effectsH, old: "w->e.word[i] = next;", new: ";"},
	{what: "a gate begins with the state of the one before", file: "kernel/fabric_gate.go", old: "if err := f.gateWords.words.Put(g.Index, g.r.spec.State); err != nil {", new: "if err := error(nil); err != nil {"},
	{what: "state is set without counting the change", file: "kernel/fabric_state.go", old: "next += 1 << image.StateBits", new: "next += 0"},
	{what: "state is set whatever it was", file: "kernel/fabric_state.go", old: "if len(from) > 0 && !slices.Contains(from, old&mask) {", new: "if len(from) > 64 && !slices.Contains(from, old&mask) {"},

	// Rates, in the filter.
	{what: "a bucket has a token more than its burst", file: effectsGo, old: "r.Every*uint64(r.Burst))", new: "r.Every*uint64(r.Burst+1))"},
	{what: "a token costs half of one", file: effectsH, old: "\t\tfull += r->every;\n", new: "\t\tfull += r->every / 2;\n"},
	{what: "tokens gather without end", file: effectsH, old: "__u64 full = old < w->e.now ? w->e.now : old;", new: "__u64 full = old;"},
	{what: "an empty bucket: the others are charged all the same", file: effectsH, old: "if (r || w->e.wait) {", new: "if (r || w->e.wait) {\n\t\t\tcharge(w, m->rate);"},
	{what: "tokens are not given back after a lost race for state", file: effectsH, old: "\t\t\t\tif (K_RATES)\n\t\t\t\t\trefund(w, m->rate);\n", new: ""},
	{what: "a token is taken by a plain store", file: effectsH, old: "|| __sync_val_compare_and_swap(b, old, full) != old)", new: "|| (*(volatile __u64 *)b = full, 0))"},
	{what: "of several waits the last is told", file: effectsH, old: "if (full > r->depth && full - r->depth > *(volatile __u64 *)&w->e.wait) {", new: "if (full > r->depth) {"},
	{what: "only the first bucket is charged", file: effectsGo, old: "g.chargeBucket(g.effects.rateOf[g.effects.rates])", new: "g.chargeBucket(g.effects.rateOf[0])"},
	{what: "a bucket that is not full is forgotten", file: "kernel/fabric_bucket.go", old: "if binary.LittleEndian.Uint64(v) <= now {", new: "if binary.LittleEndian.Uint64(v) <= now || now > 0 {"},
	{what: "all senders share a bucket", file: "kernel/fabric_bucket.go", old: `onceMark(p.Rates[i].Once)+whose+" "+`, new: `onceMark(p.Rates[i].Once)+" "+`},
	{what: "all methods share a bucket", file: "filter/chain.go", old: `fmt.Sprintf("%q %s %d", img.Policies[r.Policy].ID, method, dir)`, new: `fmt.Sprintf("%q %d", img.Policies[r.Policy].ID, dir)`},
	{what: "requests and replies share a bucket", file: "filter/chain.go", old: `fmt.Sprintf("%q %s %d", img.Policies[r.Policy].ID, method, dir)`, new: `fmt.Sprintf("%q %s", img.Policies[r.Policy].ID, method)`},

	// Elements, large sets, patterns.
	{what: "the search in a large set is off by one", file: seenH, old: "lo = mid + 1;", new: "lo = mid + 2;"},
	{what: "the last element is all that counts", file: seenH, old: "w->cap[slot] |= w->val;", new: "w->cap[slot] = w->val;"},
	{what: "that something else was seen is not noted", file: seenH, old: "\t\tw->val = *p;\n\t}\n\tp = row(&values, f->tests + 1);", new: "\t}\n\tp = row(&values, f->tests + 1);"},
	{what: "a large set as a bound is not checked", file: seenH, old: "if (!p || *p & ~w->val)", new: "if (!p)"},
	{what: "of a long constant the last bytes do not count", file: seenH, old: "x &= (1ULL << (8 * n)) - 1;", new: "x &= 0xff;"},
	{what: "a pattern takes the first match after a gap and no other", file: seenH, old: "state = (state << 1 & *p) | (state & stay);", new: "state = (state << 1 & *p) | (state << 1 & *p ? 0 : state & stay);"},
	{what: "a gap in a pattern is one character", file: seenH, old: "stay = *p;", new: "stay = 0;"},
	{what: "what is none of a set is not told from what is", file: containsGo, old: "none |= 1 << i", new: "none |= 0 << i"},
	{what: "the members of a set count as none of it", file: containsGo, old: "answers[v] &^= 1 << i", new: "answers[v] |= 1 << i"},
	{what: "in and not in share an answer", file: containsGo, old: "return (t.Op == image.AnyOut) == (e.Op == image.AnyOut) && slices.Equal(t.Set, e.Set)", new: "return slices.Equal(t.Set, e.Set)"},
	{what: "what is absent is in no large set", file: containsGo, old: "e.Op == image.In && slices.Contains(e.Set, absent)", new: "e.Op == image.AnyOut && slices.Contains(e.Set, absent)"},
	{what: "patterns of one parameter overlap", file: containsGo, old: "bit++ // the accepting bit is followed by the next pattern's first", new: ""},

	// The compiler.
	{what: "every element means some element", file: "policy/contains.go", old: "return not(image.Expr{Op: image.AnyOut,", new: "return all(image.Expr{Op: image.AnyIn,"},
	{what: "containsAll of elements asks for one", file: "policy/contains.go", old: "\treturn all(each...)", new: "\treturn some(each...)"},
	{what: "effects that conflict are accepted", file: layoutGo, old: "if c.never(j, p.When, q.When) {\n\t\t\treturn", new: "if j != nil {\n\t\t\treturn"},
	{what: "effects that cannot meet are refused", file: layoutGo, old: "if c.never(j, p.When, q.When) {\n\t\t\treturn", new: "if j == nil {\n\t\t\treturn"},
	{what: "what changes together is in two words", file: layoutGo, old: "l.join(must, others[0], i)", new: "_ = i"},
	{what: "a gate's state and other state at once", file: layoutGo, old: "if !has(p, gates) || !has(q, others) || i != k && l.never(j, p.When, q.When) {", new: "if j != nil || !has(p, gates) || !has(q, others) || i == k {"},
	{what: "a reload gives state another place", file: layoutGo, old: "c.Word, c.Shift, c.Bits = k.Word, k.Shift, k.Bits", new: "c.Word, c.Shift, c.Bits = k.Word, k.Shift+1, k.Bits"},
	{what: "a reload may reorder the values of a state", file: layoutGo, old: "|| !slices.Equal(s.Values[:len(o.Values)], o.Values)", new: ""},
	{what: "principal and resource change places in @enter", file: "policy/effects.go", old: `map[string]int{"principal": principal, "resource": resource}[e.target]`, new: `map[string]int{"principal": resource, "resource": principal}[e.target]`},
	{what: "a rate is rounded up, not down", file: "policy/effects.go", old: "(unit + n - 1) / n", new: "unit / n"},
	{what: "a burst that is not written is one token", file: "policy/effects.go", old: "burst := max(1, min(eval.Units[\"s\"]/r.Every, image.MaxBurst))", new: "burst := min(1, max(eval.Units[\"s\"]/r.Every, image.MaxBurst))"},
	{what: "a transition of a model admits by itself", file: "policy/transitions.go", old: "When: all(some(admits...), e), Enter", new: "When: e, Enter", tests: "models"},
	{what: "roles do not include roles", file: "policy/models.go", old: "parents[r.Name.Value] = append(parents[r.Name.Value], role(i.Value))", new: "", tests: "models"},

	// Trust.
	{what: "trust spares forbids", file: trustGo, old: "if s.Forbid || s.effects.any()", new: "if s.effects.any()", tests: "models"},
	{what: "trust spares permits with effects", file: trustGo, old: "if s.Forbid || s.effects.any()", new: "if s.Forbid", tests: "models"},
	{what: "trust spares who is less trusted", file: trustGo, old: "order.Trusts(order.Find(c.domains[client].Ring.Value), order.Find(c.domains[server].Ring.Value))", new: "order.Trusts(order.Find(c.domains[server].Ring.Value), order.Find(c.domains[client].Ring.Value))", tests: "models"},
	{what: "trust spares conditions on state", file: trustGo, old: "\t\treturn *e\n\t}\n\treturn constExpr(positive)", new: "\t\treturn constExpr(positive)\n\t}\n\treturn constExpr(positive)"},
	{what: "trust takes what is denied for what is spared", file: trustGo, old: "return not(spare(&e.Args[0], !positive))", new: "return not(spare(&e.Args[0], positive))"},

	// Models.
	{what: "brackets: one ring beyond n3", file: "models/rings-multics.cedar", old: "principal.ring.level > ?n3 ||", new: "principal.ring.level > ?n3 + 1 ||", tests: "models"},
	{what: "brackets: n2 itself has to use an entry point", file: "models/rings-multics.cedar", old: "principal.ring.level > ?n2 ||", new: "principal.ring.level >= ?n2 ||", tests: "models"},
	{what: "the table of brackets: beyond n3", file: "ring/bracket.go", old: "from > b.N3:", new: "from > b.N3+1:"},
	{what: "x86: not to the same level", file: "ring/bracket.go", old: "rpl <= gate && dpl <= cpl }", new: "rpl <= gate && dpl < cpl }"},
	{what: "secrecy: the lattice upside down", file: "models/mls.cedar", old: "principal.label.trusted ||\n  resource.label.level >= principal.label.level", new: "principal.label.trusted ||\n  resource.label.level <= principal.label.level", tests: "models"},
	{what: "secrecy: categories do not count in replies", file: "models/mls.cedar", old: "resource is Domain && resource.label.level >= principal.label.level && resource.label.categories.containsAll(principal.label.categories)", new: "resource is Domain && resource.label.level >= principal.label.level", tests: "models"},
	{what: "secrecy: users outside read everything", file: "models/mls.cedar", old: "resource is User && principal.label.level == 0 && principal.label.categories.isEmpty()", new: "resource is User", tests: "models"},
	{what: "integrity: the lattice upside down", file: "models/biba.cedar", old: "principal is Domain && principal.label.integrity >= resource.label.integrity", new: "principal is Domain && principal.label.integrity <= resource.label.integrity", tests: "models"},
	{what: "the low-water mark rises", file: "models/state.go", old: "if from != i+1 && (from == 0 || from > i+1) {", new: "if from != i+1 {", tests: "models"},
	{what: "who has acted in one role may act in the other", file: "models/separation-of-duty.cedar", old: `principal.state.?state == "?other"`, new: `principal.state.?state == "?role"`, tests: "models"},
	{what: "the right of a role is everybody's", file: "models/roles.cedar", old: "principal in ?role,", new: "principal,", tests: "models"},
	{what: "labels: domination upside down", file: "ring/label.go", old: "return a.Level >= b.Level &&", new: "return a.Level <= b.Level &&"},
	{what: "rings beside each other trust each other", file: "ring/order.go", old: "o.above[i] |= o.above[j]", new: "o.above[i] |= o.above[j] | o.above[i]<<1"},

	// Their twin in Go, and what the caller is told.
	{what: "Go has the effects of the first permit only", file: "policy/eval/state.go", old: "&& Holds(&r.When, args, client) {", new: "&& len(o.Effects) == 0 && Holds(&r.When, args, client) {", tests: "eval"},
	{what: "Go lets every move pass", file: "policy/eval/state.go", old: "return from == to ||", new: "return from != to ||", tests: "eval"},
	{what: "Go gives a token more", file: "policy/eval/state.go", old: "full+r.Every > room {", new: "full > room {", tests: "eval"},
	{what: "the caller is told a wait in other units", file: "gate/error.go", old: "time.Duration(detail) * time.Microsecond", new: "time.Duration(detail) * time.Millisecond"},
}
