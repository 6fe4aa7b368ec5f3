package prove

import (
	"encoding/binary"
	"maps"
	"slices"
	"unicode/utf8"

	"ward/image"
)

// All that can be known of a text is regular: what it begins and ends with, the
// patterns that it matches or not, what it is not, its characters and its length.
// So whether there is such a text can be decided, by a walk over the product of
// one automaton for each condition, the cheapest text first.

// maxSteps bounds a walk: the steps of all automata together. Beyond, it gives up.
const maxSteps = 1 << 19

// A glob is a pattern as an automaton: its parts in this order, with anything
// between them. The first is where the text begins, the last where it ends.
type glob struct {
	runes []rune // of all parts, one after the other
	free  []bool // free[i]: before runes[i] there may be anything; free[len(runes)]: after the last
	holds bool   // the text is to match; else not to
}

func newGlob(holds bool, parts ...string) glob {
	g := glob{holds: holds}
	for i, p := range parts {
		for j, r := range []rune(p) {
			g.runes = append(g.runes, r)
			g.free = append(g.free, i > 0 && j == 0)
		}
	}
	g.free = append(g.free, len(parts) > 1 && parts[len(parts)-1] == "")
	return g
}

// at is where a glob is: the positions of runes that the text has come to, the
// greatest first. Of the free ones only the greatest is of account, and none
// below it: what matches from there on also matches from the greatest on.
type at []uint16

// step is where g is after one more character.
func (g *glob) step(from at, r rune) at {
	var to at
	for _, p := range from {
		if int(p) < len(g.runes) && g.runes[p] == r {
			to = append(to, p+1)
		}
		if g.free[p] {
			to = append(to, p)
		}
	}
	slices.SortFunc(to, func(a, b uint16) int { return int(b) - int(a) })
	to = slices.Compact(to)
	if i := slices.IndexFunc(to, func(p uint16) bool { return g.free[p] }); i >= 0 {
		to = to[:i+1]
	}
	return to
}

// matched reports whether a text that ends here matches.
func (g *glob) matched(p at) bool { return len(p) > 0 && int(p[0]) == len(g.runes) }

// lost reports whether no text that goes on from here can be as g says.
func (g *glob) lost(p at) bool {
	if g.holds {
		return len(p) == 0
	}
	return g.matched(p) && g.free[len(g.runes)]
}

// A words is the walk for one text.
type words struct {
	field    *image.Field
	globs    []glob
	not      []map[rune]int // a trie of the texts that it is not; node 0 is the root
	ends     []bool         // nodes where such a text ends
	alphabet []rune
}

// A place is a state of a walk, with the shortest text that leads there.
type place struct {
	globs []at
	node  int // of the trie; -1: it has left it
	text  string
	runes uint32
}

// words finds a text that is as t says. If it finds none, all says that there is
// none; else it has given up.
func (t *text) words() (v string, found, all bool) {
	w := &words{field: t.field}
	w.add(true, t.prefix, "")
	w.add(true, "", t.suffix)
	w.add(true, t.field.Prefix, "")
	w.add(true, "", t.field.Suffix)
	for _, g := range t.gaps {
		var parts []string
		for _, p := range g.e.Set {
			parts = append(parts, p.String)
		}
		w.add(g.holds, parts...)
	}
	for _, p := range t.notPrefix {
		w.add(false, p, "")
	}
	for _, s := range t.notSuffix {
		w.add(false, "", s)
	}
	w.exclude(slices.Sorted(maps.Keys(t.not)))
	if t.field.Required && t.field.Card == image.Implicit {
		w.exclude([]string{""})
	}
	if !w.letters() {
		return "", false, false
	}
	return w.walk()
}

// add adds a pattern. One that every text matches is left out.
func (w *words) add(holds bool, parts ...string) {
	if holds && !slices.ContainsFunc(parts, func(p string) bool { return p != "" }) {
		return
	}
	w.globs = append(w.globs, newGlob(holds, parts...))
}

// exclude adds texts that it is not.
func (w *words) exclude(texts []string) {
	if w.not == nil && len(texts) > 0 {
		w.not, w.ends = []map[rune]int{{}}, []bool{false}
	}
	for _, s := range texts {
		node := 0
		for _, r := range s {
			next, ok := w.not[node][r]
			if !ok {
				next = len(w.not)
				w.not[node][r] = next
				w.not, w.ends = append(w.not, map[rune]int{}), append(w.ends, false)
			}
			node = next
		}
		w.ends[node] = true
	}
}

// letters chooses the characters to try: those that some condition names, and
// of all others one for each length of its encoding, since no condition tells
// them apart. It reports false for texts that are not UTF-8.
func (w *words) letters() bool {
	named := map[rune]bool{}
	for i := range w.globs {
		for _, r := range w.globs[i].runes {
			named[r] = true
		}
	}
	for _, n := range w.not {
		for r := range n {
			named[r] = true
		}
	}
	if named[utf8.RuneError] {
		return false // perhaps it stands for bytes that are no character
	}
	var others [utf8.UTFMax + 1]bool
	take := func(r rune) {
		if !inClass(w.field, string(r)) {
			return
		}
		if n := utf8.RuneLen(r); named[r] || !others[n] {
			w.alphabet = append(w.alphabet, r)
			others[n] = others[n] || !named[r]
		}
	}
	for _, r := range letters {
		take(r)
	}
	for r := range rune(128) {
		if !slices.Contains([]rune(letters), r) {
			take(r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(named)) {
		if r >= 128 && !slices.Contains([]rune(letters), r) {
			take(r)
		}
	}
	for _, first := range []rune{0xc0, 0x4e00, 0x1f600} { // two, three, four bytes
		r := first
		for named[r] {
			r++
		}
		take(r)
	}
	return true
}

// walk tries texts by the length of their encoding. So a state is first met
// with the shortest text that leads there, and the bound on the length is for
// the rest of the search no more than an end.
func (w *words) walk() (string, bool, bool) {
	start := place{globs: make([]at, len(w.globs))}
	for i := range w.globs {
		start.globs[i] = at{0}
	}
	if w.not == nil {
		start.node = -1
	}
	seen := map[string]bool{}
	byLength := [][]place{{start}}
	steps, tooMany := 0, false
	for n := 0; n < len(byLength); n++ {
		for _, p := range byLength[n] {
			key := w.key(&p)
			if seen[key] {
				continue
			}
			if steps += len(w.alphabet) * (1 + len(w.globs)); steps > maxSteps {
				return "", false, false
			}
			seen[key] = true
			if w.ended(&p) {
				if w.field.MaxRunes == 0 || p.runes <= w.field.MaxRunes {
					return p.text, true, false
				}
				tooMany = true // there may be a longer one of fewer characters
			}
			for _, r := range w.alphabet {
				size := n + utf8.RuneLen(r)
				if size > int(w.field.MaxLen) {
					continue
				}
				if next, ok := w.step(&p, r); ok {
					for len(byLength) <= size {
						byLength = append(byLength, nil)
					}
					byLength[size] = append(byLength[size], next)
				}
			}
		}
		byLength[n] = nil
	}
	return "", false, !tooMany
}

func (w *words) step(p *place, r rune) (place, bool) {
	next := place{globs: make([]at, len(w.globs)), node: -1, text: p.text + string(r), runes: p.runes + 1}
	for i := range w.globs {
		next.globs[i] = w.globs[i].step(p.globs[i], r)
		if w.globs[i].lost(next.globs[i]) {
			return place{}, false
		}
	}
	if p.node >= 0 {
		if node, ok := w.not[p.node][r]; ok {
			next.node = node
		}
	}
	return next, true
}

// ended reports whether the text of p is complete: it is as all conditions say,
// but for the greatest number of characters.
func (w *words) ended(p *place) bool {
	if len(p.text) < int(w.field.MinLen) || p.runes < w.field.MinRunes || p.node >= 0 && w.ends[p.node] {
		return false
	}
	for i := range w.globs {
		if w.globs[i].matched(p.globs[i]) != w.globs[i].holds {
			return false
		}
	}
	return true
}

// key tells states apart: how long the text is counts only until it is long enough.
func (w *words) key(p *place) string {
	b := binary.AppendVarint(nil, int64(p.node))
	b = binary.AppendUvarint(b, uint64(min(len(p.text), int(w.field.MinLen))))
	b = binary.AppendUvarint(b, uint64(min(p.runes, w.field.MinRunes)))
	for _, g := range p.globs {
		b = binary.AppendUvarint(b, uint64(len(g)))
		for _, n := range g {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return string(b)
}
