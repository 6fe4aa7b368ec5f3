package filter

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"ward/image"
)

// What a filter asks of values while it reads them: bpf/seen.h.

const (
	// seenFound is the bit of an answer that says that the value is among the constants.
	seenFound = 63
	// maxRules is the number of rules on strings in the tables of a program; checkSeen
	// is the bit beside the number of the rule of a field with constants or patterns.
	maxRules  = 0x3fff
	checkSeen = 0x8000
	// keyRow is the number of rows before the keys of a table of constants.
	keyRow = 4
)

// A testSet is what is asked of the values of one parameter. The number of a
// question is the bit of its answer.
type testSet struct {
	path  []uint32
	tests []*image.Expr // AnyIn, AnyOut, In
}

// bit returns the number of a question, which is added if it is new.
func (s *testSet) bit(e *image.Expr) int {
	i := slices.IndexFunc(s.tests, func(t *image.Expr) bool {
		return (t.Op == image.AnyOut) == (e.Op == image.AnyOut) && slices.Equal(t.Set, e.Set)
	})
	if i < 0 {
		i = len(s.tests)
		s.tests = append(s.tests, e)
	}
	return i
}

// A patternSet is the patterns of one parameter that are followed together.
type patternSet struct {
	path     []uint32
	patterns []*image.Expr
}

// accept returns the bit that says that a pattern matches, which is added if it is new.
func (s *patternSet) accept(e *image.Expr) int {
	at := 0
	for _, p := range s.patterns {
		at += p.PatternSize()
		if slices.Equal(p.Set, e.Set) {
			return at - 1
		}
	}
	s.patterns = append(s.patterns, e)
	return at + e.PatternSize() - 1
}

// likes puts the automaton of s into the tables: the first state, the states
// that stay, and for each byte the states that it may lead to.
func (t *tree) likes(s *patternSet) (uint32, error) {
	var start, stay uint64
	var next [256]uint64
	bit := 0
	for _, p := range s.patterns {
		if bit+p.PatternSize() > image.MaxPattern {
			return 0, fmt.Errorf("patterns of more than %d bytes", image.MaxPattern)
		}
		start |= 1 << bit
		for i, v := range p.Set {
			if i > 0 {
				stay |= 1 << bit
			}
			for j := range len(v.String) {
				bit++
				next[v.String[j]] |= 1 << bit
			}
		}
		bit++ // the accepting bit is followed by the next pattern's first
	}
	at := t.table()
	t.values = append(t.values, start, stay)
	t.values = append(t.values, next[:]...)
	return at, nil
}

// table returns the index of the next row of values, which is not 0.
func (t *tree) table() uint32 {
	if len(t.values) == 0 {
		t.values = append(t.values, 0)
	}
	return uint32(len(t.values))
}

// A branch of the trie of constants, in the making.
type branch struct {
	keys   []uint64
	next   []*branch
	answer []uint64 // at the end of a value, in place of next
}

// questions are the constants that the values of a field are compared with:
// those of the decision, and the bounds of the field. must is the bit of the latter.
func questions(f *image.Field, s *testSet) (tests []*image.Expr, must uint64, err error) {
	if s != nil {
		tests = slices.Clip(s.tests)
	}
	if largeIn(f) {
		e := &image.Expr{Op: image.AnyIn}
		for _, v := range f.In {
			e.Set = append(e.Set, image.Value{IsString: true, String: v})
		}
		must = 1 << len(tests)
		tests = append(tests, e)
	}
	if len(tests) > image.MaxTests {
		return nil, 0, fmt.Errorf("its values are compared with %d sets, the limit is %d", len(tests), image.MaxTests)
	}
	return tests, must, nil
}

// largeIn reports whether the values that a field is bound to are looked up in a table.
func largeIn(f *image.Field) bool {
	return f.Type == image.String && len(f.In) > image.LargeSet
}

// tests puts constants into the tables, and returns where they are.
func (t *tree) tests(tests []*image.Expr, must uint64) (uint32, error) {
	// The answers for each constant: AnyOut holds for all but those of its set.
	var none uint64
	answers := map[image.Value]uint64{}
	for i, e := range tests {
		if e.Op == image.AnyOut {
			none |= 1 << i
		}
		for _, v := range e.Set {
			answers[v] = 0
		}
	}
	for v := range answers {
		answers[v] = none | 1<<seenFound
	}
	for i, e := range tests {
		for _, v := range e.Set {
			if e.Op == image.AnyOut {
				answers[v] &^= 1 << i
			} else {
				answers[v] |= 1 << i
			}
		}
	}
	if len(answers) > image.MaxSet {
		return 0, fmt.Errorf("its values are compared with %d constants, the limit is %d", len(answers), image.MaxSet)
	}
	root := grow(answers)
	var keys, leads []uint64
	place(root, &keys, &leads)
	at := t.table()
	first := uint64(at) + keyRow
	n := uint64(len(keys))
	// Ranges are of rows of the whole table.
	for i, v := range leads {
		if v>>seenFound == 0 {
			leads[i] = v + first<<32 + first
		}
	}
	t.values = append(t.values, none, must, first<<32|(first+uint64(len(root.keys))), n)
	t.values = append(t.values, keys...)
	t.values = append(t.values, leads...)
	return at, nil
}

// words are the keys that a constant is found by: a number, or a string's
// length and its bytes.
func words(v image.Value) []uint64 {
	if !v.IsString {
		return []uint64{uint64(v.Long)}
	}
	w := []uint64{uint64(len(v.String))}
	for s := v.String; s != ""; s = s[min(8, len(s)):] {
		var b [8]byte
		copy(b[:], s)
		w = append(w, binary.LittleEndian.Uint64(b[:]))
	}
	return w
}

// grow makes the trie of constants.
func grow(answers map[image.Value]uint64) *branch {
	type constant struct {
		words  []uint64
		answer uint64
	}
	var all []constant
	for v, a := range answers {
		all = append(all, constant{words(v), a})
	}
	slices.SortFunc(all, func(a, b constant) int { return slices.Compare(a.words, b.words) })
	root := &branch{}
	for _, c := range all {
		b := root
		for i, w := range c.words {
			last := len(b.keys) - 1
			if last < 0 || b.keys[last] != w {
				b.keys = append(b.keys, w)
				b.next = append(b.next, &branch{})
				b.answer = append(b.answer, 0)
				last++
			}
			if i == len(c.words)-1 {
				b.answer[last] = c.answer
			}
			b = b.next[last]
		}
	}
	return root
}

// place lays a trie out, level by level so that the keys of a branch are
// together. Ranges count from the first key.
func place(root *branch, keys, leads *[]uint64) {
	type spot struct {
		b  *branch
		at int // in leads, of what leads here
	}
	for queue := []spot{{root, -1}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		first := uint64(len(*keys))
		if s.at >= 0 {
			(*leads)[s.at] = first<<32 | (first + uint64(len(s.b.keys)))
		}
		*keys = append(*keys, s.b.keys...)
		for i, next := range s.b.next {
			*leads = append(*leads, s.b.answer[i])
			if s.b.answer[i] == 0 {
				queue = append(queue, spot{next, len(*leads) - 1})
			}
		}
	}
}

// seenBy fills in what is asked of the values of a field while they are read.
func (t *tree) seenBy(f *image.Field, c *captureTree, r *fieldRow) error {
	var set *testSet
	if c != nil {
		set, r.tcap, r.lcap = c.testSet, uint8(c.tests), uint8(c.patterns)
	}
	tests, must, err := questions(f, set)
	if err != nil {
		return err
	}
	if len(tests) > 0 {
		if r.tests, err = t.tests(tests, must); err != nil {
			return err
		}
		r.check |= checkSeen
	}
	if r.lcap != 0 {
		if r.likes, err = t.likes(c.patternSet); err != nil {
			return err
		}
		r.check |= checkSeen
	}
	return nil
}

// seen emits what e asks of a parameter as it was read.
func (g *gen) seen(e *image.Expr, yes, no, next string) {
	at := g.caps.at(e.Left.Path)
	switch {
	case e.Scanned():
		g.bit(at.patterns-1, at.patternSet.accept(e), yes, no, next)
	case e.Op == image.Like:
		g.like(g.str(e.Left), e.Set[0].String, e.Set[1].String, yes, no, next)
	default:
		// What is absent counts as zero, or as the empty text.
		if absent := (image.Value{IsString: e.Set[0].IsString}); e.Op == image.In && slices.Contains(e.Set, absent) {
			there := g.label()
			g.emit(asm.LoadMem(asm.R1, asm.R7, walkPresent, asm.Half), asm.JSet.Imm(asm.R1, 1<<(at.tests-1), there))
			g.jump(yes)
			g.place(there)
		}
		g.bit(at.tests-1, at.testSet.bit(e), yes, no, next)
	}
}

// bit jumps to yes if a bit of a slot is set. A slot of what is absent is 0.
func (g *gen) bit(slot, bit int, yes, no, next string) {
	g.emit(asm.LoadMem(asm.R1, asm.R7, walkCap+8*int16(slot), asm.DWord))
	if bit > 0 {
		g.emit(asm.RSh.Imm(asm.R1, int32(bit)))
	}
	g.branch(asm.JSet.Imm(asm.R1, 1, yes), yes, no, next)
}

// like emits the comparison with a pattern that has text at both ends only.
func (g *gen) like(s str, first, last, yes, no, next string) {
	more := g.label()
	g.emit(asm.LoadMem(asm.R1, asm.R7, s.at, asm.Word), asm.JLT.Imm(asm.R1, int32(len(first)+len(last)), no))
	g.hasPrefix(s, first, more, no, more)
	g.place(more)
	g.hasSuffix(s, last, yes, no, next)
}
