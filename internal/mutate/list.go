package main

import "slices"

// What must catch a mutation, by the room it is in.
var suites = map[string]suite{
	"filter": {
		{"kernel", "^(TestBodyRules|TestHeaderRules|TestCallTable|TestPolicyDecides|TestDecideDifferential|TestDeniedAnswerWithoutBody|TestMetadata.*|TestUnknownField.*|TestFieldLimit|TestLargestMessage|TestCredits|TestStepLimit|TestAbsentMeansZero)$"},
		{"kernel", "^(TestState.*|TestEffects.*|TestOneWordChanges|TestForbidLooksAtState|TestSetState|TestRate.*|TestBucket.*|TestLongestWait|TestRaceRefunds|TestLarge.*)$"},
		{"difftest", "^(TestDifferential|TestConcurrent)$"},
		{"kernel", "^(FuzzBody|FuzzHeader|TestDifferential)$"},
	},
	"kernel": {
		{"kernel", "^(TestState.*|TestEffects.*|TestSetState|TestRate.*|TestBucket.*|TestLongestWait|TestRaceRefunds)$"},
		{"difftest", "^(TestDifferential|TestConcurrent)$"},
	},
	"policy": {
		{"policy", "^(TestLanguage|TestMetadata.*|TestOracle|TestImpliedReply|TestConnectIsAsWideAsCalls|TestSpare|TestRunning|TestWords|TestEffectsThatMeet|TestRateForms)$"},
		{"models", "^Test"},
		{"difftest", "^TestDifferential$"},
	},
	"image": {
		{"image", "^Test"},
		{"difftest", "^TestDifferential$"},
	},
	"ring":    {{"ring", "^Test"}, {"models", "^Test"}},
	"models":  {{"models", "^Test"}, {"difftest", "^TestDifferential$"}},
	"gate":    {{"gate", "^TestRateIsTold$"}},
	"handles": handleSuite,
	"memory":  memorySuite,
	"book":    bookSuite,
	"objects": objectSuite,
	"secret":  secretSuite,
	"opens":   opensSuite,
	"held":    heldSuite,
	"rings":   ringSuite,
	"quota":   quotaSuite, "room": roomSuite, "share": shareSuite, "kinbuckets": kinBucketSuite, "halves": halvesSuite, "listen": listenSuite,
	"work": workSuite, "notices": noticeSuite, "setting": settingSuite, "fallback": fallbackSuite, "known": knownSuite, "leave": leaveSuite, "unserved": unservedSuite,
	"eval": {
		{"policy/eval", "^Test"},
		{"policy", "^TestOracle$"},
		{"difftest", "^TestDifferential$"},
	},
}

const (
	decideGo = "filter/decide.go"
	genGo    = "filter/gen.go"
	boundsGo = "filter/bounds.go"
	foldGo   = "filter/fold.go"
	treeGo   = "filter/tree.go"
	walkH    = "filter/bpf/walk.h"
	messageH = "filter/bpf/message.h"
	gateC    = "filter/bpf/gate.bpf.c"
)

var mutations = slices.Concat(statelessMutations, effectMutations, metadataMutations, handleMutations, memoryMutations, objectMutations, bookMutations, secretMutations, opensMutations, heldMutations, ringMutations, familyMutations, onceMutations, unservedMutations)

var statelessMutations = []mutation{
	// The decision, as instructions.
	{what: "< becomes >", file: decideGo, old: "g.compare(asm.JSLT, e.Right", new: "g.compare(asm.JSGT, e.Right"},
	{what: "<= becomes <", file: decideGo, old: "g.compare(asm.JSLE, e.Right", new: "g.compare(asm.JSLT, e.Right"},
	{what: "forbids are dropped", file: decideGo, old: "g.rules(m.decision.Forbid, abi.ReasonForbid)", new: ""},
	{what: "! is ignored", file: decideGo, old: "g.cond(&e.Args[0], no, yes, next)", new: "g.cond(&e.Args[0], yes, no, next)"},
	{what: "&& and || change places", file: decideGo, old: "if e.Op == image.And {", new: "if e.Op == image.Or {"},
	{what: "if: then and else change places", file: decideGo, old: "g.cond(&e.Args[0], a, b, a)", new: "g.cond(&e.Args[0], b, a, a)"},
	{what: "has asks for the next parameter", file: decideGo, old: "asm.JSet.Imm(asm.R1, 1<<slot, yes)", new: "asm.JSet.Imm(asm.R1, 2<<slot, yes)"},
	{what: "default permit", file: decideGo, old: "deny := verdictWord(abi.ReasonDefault, abi.NoPolicy, false)", new: "deny := verdictWord(abi.ReasonPermit, abi.NoPolicy, false)"},
	{what: "strings are equal that only begin alike", file: genGo, old: "g.emit(asm.JNE.Imm(asm.R1, int32(len(text)), no))", new: "g.emit(asm.JLT.Imm(asm.R1, int32(len(text)), no))"},
	{what: "a suffix is looked for one byte off", file: genGo, old: "g.bytes(s, -len(text), true, text, no)", new: "g.bytes(s, -len(text)-1, true, text, no)"},
	{what: "an interval without its last number", file: genGo, old: "g.jumpIf(asm.JSLE, s[1], yes)", new: "g.jumpIf(asm.JSLT, s[1], yes)"},
	{what: "only the first 32 bytes are compared", file: genGo, old: "for off := 0; off < len(text); off += chunk {", new: "for off := 0; off < min(len(text), chunk); off += chunk {"},
	{what: "the binary search for a number is off by one", file: genGo, old: "g.jumpIf(asm.JSGE, spans[mid][0], right)", new: "g.jumpIf(asm.JSGT, spans[mid][0], right)"},
	{what: "the search for a method is off by one", file: genGo, old: "asm.JGE.Imm(asm.R8, int32(keys[mid]), right)", new: "asm.JGT.Imm(asm.R8, int32(keys[mid]), right)"},
	{what: "any user named in a policy is every user named", file: foldGo, old: "constant(atoms.User >= 0 && uint32(atoms.User) == e.Atom)", new: "constant(atoms.User >= 0)"},
	{what: "what is false does not decide an &&", file: foldGo, old: "skip, stop := image.True, image.False", new: "skip, stop := image.False, image.True"},

	// Bounds and tables.
	{what: "negative numbers are compared unsigned", file: boundsGo, old: "r.bias = signBit", new: "r.bias = 0"},
	{what: "negative doubles in the wrong order", file: boundsGo, old: "return ^b\n\t}\n\treturn b | signBit", new: "return b\n\t}\n\treturn b | signBit"},
	{what: "an absent field passes for 1", file: boundsGo, old: "if int64(f.Min) > 0 || int64(f.Max) < 0 {", new: "if int64(f.Min) > 1 || int64(f.Max) < 0 {"},
	{what: "a repeated field may be absent", file: boundsGo, old: "return f.MinItems > 0, true", new: "return false, true"},
	{what: "two members of a oneof", file: treeGo, old: "r.oneof |= 1 << j", new: "r.oneof |= 0"},
	{what: "a class of characters is not checked", file: treeGo, old: "r.flags |= flagClass", new: "r.flags |= 0"},
	{what: "a required oneof may be absent", file: treeGo, old: "n.oneof, n.noneof = uint32(len(t.values)), uint32(len(m.Required))", new: "n.oneof, n.noneof = uint32(len(t.values)), 0"},
	{what: "the size of a nested message is not bounded", file: treeGo, old: "minLen: f.MinLen, maxLen: f.MaxLen,", new: "minLen: f.MinLen, maxLen: 1 << 30,"},
	{what: "a string's `in`, prefix and suffix are not checked", file: treeGo, old: "r.check = uint16(len(t.rules))", new: "r.check = 0"},

	// The walk.
	{what: "a varint may end in a zero byte", file: walkH, old: "if (c == 0 || (i == 9 && c > 1))", new: "if (i == 9 && c > 1)"},
	{what: "a tenth byte with more than one bit", file: walkH, old: "if (c == 0 || (i == 9 && c > 1))", new: "if (c == 0)"},
	{what: "an int32 that is not sign-extended", file: walkH, old: "if ((__u64)(__s64)(__s32)v != v)", new: "if (v >> 40 == 0x12345)"},
	{what: "a uint32 of 33 bits", file: walkH, old: "case T_UINT32:\n\t\tif (v >> 32)", new: "case T_UINT32:\n\t\tif (v >> 33)"},
	{what: "a bool of 2", file: walkH, old: "if (v > 1)", new: "if (v > 2)"},
	{what: "one above the upper bound", file: walkH, old: "if (key < f->lo || key > f->hi)", new: "if (key < f->lo || key - 1 > f->hi)"},
	{what: "one below the lower bound", file: walkH, old: "if (key < f->lo || key > f->hi)", new: "if (key + 1 < f->lo || key > f->hi)"},
	{what: "a field given twice", file: walkH, old: "if (l->seen & (bit | f->oneof))", new: "if (l->seen & (f->oneof & ~bit))"},
	{what: "a repeated field that comes again", file: walkH, old: "if (!l->items && (l->seen & bit))", new: "if (!l->items && (l->seen & bit) && !f->number)"},
	{what: "one element too few", file: walkH, old: "if (n >= f->minitems)", new: "if (n + 1 >= f->minitems)"},
	{what: "one element too many", file: walkH, old: "if (n > f->maxitems || n > 0xffff)", new: "if (n > f->maxitems + 1 || n > 0xffff)"},
	{what: "nested messages need not be complete", file: walkH, old: "missing = n->required & ~l->seen;", new: "missing = w->depth ? 0 : n->required & ~l->seen;"},
	{what: "a string may end within a character", file: walkH, old: "if (w->state)\n\t\treturn fail(w, REASON_UTF8, f->number);\n\tif (w->runes", new: "if (w->runes"},
	{what: "one code point too many", file: walkH, old: "w->runes > f->maxrunes)", new: "w->runes > f->maxrunes + 1)"},
	{what: "one byte too long", file: walkH, old: "if (len < f->minlen || len > f->maxlen)", new: "if (len < f->minlen || len > f->maxlen + 1ULL)"},
	{what: "a nested message longer than its parent", file: walkH, old: "if (len > end - w->off)", new: "if (len > skb->len - w->off)"},
	{what: "characters beyond ASCII in a class", file: walkH, old: "& ~(x >> 7) & 1) << j", new: "& 1) << j"},
	{what: "an empty packed field", file: walkH, old: "if (!len)\n\t\t\treturn fail(w, REASON_BOUNDS, f->number);", new: ""},
	{what: "unknown fields pass for others", file: walkH, old: "return f && f->number == num ? f : 0;", new: "return f;"},
	{what: "the range of an sint32 without its sign", file: walkH, old: "case T_SINT64:\n\t\tv = (v >> 1) ^ -(v & 1);", new: "case T_SINT64:\n\t\tv = v >> 1;"},

	// The header, the call table, the answer.
	{what: "a packet longer than its header says", file: messageH, old: "if (*(__u32 *)(w->win + 12) != len - WARD_HEADER ||", new: "if (*(__u32 *)(w->win + 12) > len - WARD_HEADER ||"},
	{what: "a reply to another method's call", file: messageH, old: "(__u32)old != (__u32)call) {", new: "(__u16)old != (__u16)call) {"},
	{what: "a call in a busy slot", file: messageH, old: "if (phase & (SLOT_BUSY | SLOT_RESERVED))\n\t\t\treturn REASON_SLOT_BUSY;", new: ""},
	{what: "an unknown flag", file: messageH, old: "if (flags & ~FLAG_METADATA ||", new: "if (flags & ~(FLAG_METADATA | 2) ||"},
	{what: "a deadline in a reply", file: messageH, old: "if (K_DIR && *(__u64 *)(w->win + 16))", new: "if (K_DIR && *(__u64 *)(w->win + 16) == 1)"},
	{what: "commit before the decision: denied calls take their slot", file: messageH, old: "if (ok || (w->known == 2 && K_DIR && w->kind != KIND_CREDIT)) {", new: "if (ok || (w->known == 2 && w->kind != KIND_CREDIT)) {"},
	{what: "a denied reply arrives whole", file: messageH, old: "ret = ok ? -1 : skb->len > WARD_HEADER ? WARD_HEADER : WARD_DENIED;", new: "ret = -1;"},
	{what: "a stream item after the end of the stream", file: messageH, old: "if (phase & SLOT_CLIENT_DONE)\n\t\t\t\t\treturn REASON_STREAM_DONE;", new: ""},
	{what: "a last reply leaves its slot taken", file: messageH, old: "phase = 0; // the last message of the call", new: ";"},
	{what: "a body after a fault in the metadata", file: gateC, old: "if (w->reason && w->meta) {", new: "if (w->reason && w->meta && w->reason != REASON_BOUNDS) {"},
	{what: "a message that takes too many steps passes", file: gateC, old: "if (!w->done)\n\t\t\tw->reason = REASON_TOO_MANY;", new: ""},

	// The compiler.
	{what: ">= becomes >", file: "policy/fold.go", old: "case syntax.Ge:\n\t\t\treturn exprValue(f.compare(image.LessEq, r, l, e))", new: "case syntax.Ge:\n\t\t\treturn exprValue(f.compare(image.Less, r, l, e))"},
	{what: "unless becomes when", file: "policy/fold.go", old: "if cond.Unless {", new: "if cond.Unless && len(s.Conditions) > 9 {"},
	{what: "a != is an ==", file: "policy/fold.go", old: "return exprValue(not(f.compare(image.Eq, l, r, e)))", new: "return exprValue(f.compare(image.Eq, l, r, e))"},
	{what: "if without else", file: "policy/simplify.go", old: "return some(not(c), a)", new: "return some(c, a)"},
	{what: "else under the condition of then", file: "policy/simplify.go", old: "return all(not(c), b)", new: "return all(c, b)"},
	{what: "a user who may only possibly connect may not", file: "policy/simplify.go", old: "may, must = not(musts[0]), not(mays[0])", new: "may, must = not(mays[0]), not(musts[0])"},
	{what: "a permit for one user is one for all", file: "policy/routes.go", old: "e = all(s.scope.principal.user, e)", new: "_ = s"},
	{what: "an implied reply beside the stated one", file: "policy/routes.go", old: "if s.scope.replies && !s.Forbid {", new: "if s.scope.replies && s.Forbid {"},
	{what: "a forbid on replies is a permit", file: "policy/routes.go", old: "rules := &d.Permit\n\tif s.Forbid {", new: "rules := &d.Permit\n\tif s.Forbid && s.scope.all {"},
	{what: "containsAll is containsAny", file: "policy/fold.go", old: `if e.Name == "containsAny" {`, new: `if e.Name != "contains" {`},

	// Its twin in Go, with which tests and explanations judge.
	{what: "Go judges permits before forbids", file: "policy/eval/eval.go", old: "return image.Verdict{Policy: d.Forbid[i].Policy}, true", new: "return image.Verdict{Allow: true, Policy: d.Forbid[i].Policy}, true", tests: "eval"},
	{what: "Go reads an absent parameter as present", file: "policy/eval/eval.go", old: "return in != nil && in.Has(fd)", new: "return in != nil && fd != nil", tests: "eval"},
}
