package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/prove"
)

// Where cells live. One message changes one word, so what may change together
// is in one; what is read together is put together where it fits, since the
// filter sees the word that it changes and other words at two moments.

// A judged is a decision on messages in which state has a part.
type judged struct {
	*image.Decision
	message *image.Message
	name    string   // of the method, for findings
	enter   []uint32 // cells that its permits enter, sorted
	reads   []uint32 // cells that its conditions look at, sorted
}

// stateful lists the decisions that look at state or change it.
func (c *compiler) stateful() []*judged {
	var res []*judged
	for i := range c.img.Routes {
		r := &c.img.Routes[i]
		f := &c.img.Interfaces[r.Interface]
		for m := range r.Methods {
			for reply, d := range []*image.Decision{&r.Methods[m].Request, &r.Methods[m].Reply} {
				j := &judged{Decision: d, name: f.Name + "/" + f.Methods[m].Name, message: &c.img.Messages[f.Methods[m].Request]}
				if reply == 1 {
					j.name, j.message = "replies to "+j.name, &c.img.Messages[f.Methods[m].Reply]
				}
				if j.find(); len(j.enter)+len(j.reads) > 0 {
					res = append(res, j)
				}
			}
		}
	}
	return res
}

func (j *judged) find() {
	enter, reads := map[uint32]bool{}, map[uint32]bool{}
	for _, rules := range [][]image.Rule{j.Forbid, j.Permit} {
		for i := range rules {
			cellsIn(&rules[i].When, reads)
			for _, e := range rules[i].Enter {
				enter[e.Cell] = true
			}
		}
	}
	j.enter, j.reads = sortedKeys(enter), sortedKeys(reads)
}

func sortedKeys(m map[uint32]bool) []uint32 {
	var keys []uint32
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func cellsIn(e *image.Expr, seen map[uint32]bool) {
	for _, o := range []*image.Operand{&e.Left, &e.Right} {
		if o.What == image.CellValue {
			seen[o.Cell] = true
		}
	}
	for i := range e.Args {
		cellsIn(&e.Args[i], seen)
	}
}

// policyOf is the last permit of a decision that enters one of the cells.
func (c *compiler) policyOf(d *image.Decision, cells ...uint32) *source {
	for _, r := range slices.Backward(d.Permit) {
		if slices.ContainsFunc(r.Enter, func(e image.Enter) bool { return slices.Contains(cells, e.Cell) }) {
			return c.sources[r.Policy]
		}
	}
	return nil
}

// layout gives each cell its place, and refuses effects that cannot be.
func (c *compiler) layout() {
	if len(c.sys.States) == 0 {
		return
	}
	all := c.stateful()
	for _, j := range all {
		c.possibleEffects(j)
	}
	if c.findings.Failed() {
		return
	}
	l := newLayout(c)
	l.keep()
	for _, j := range all {
		l.together(j)
	}
	if c.findings.Failed() {
		return
	}
	l.gate()
	l.system()
	for _, j := range all {
		c.wordsOf(j)
	}
}

// wordsOf refuses a decision that looks at too many words.
func (c *compiler) wordsOf(j *judged) {
	words := map[uint32]bool{}
	for _, i := range slices.Concat(j.enter, j.reads) {
		words[c.img.Cells[i].Word] = true
	}
	if len(words) <= image.MaxRead {
		return
	}
	var at *source
	for _, rules := range [][]image.Rule{j.Forbid, j.Permit} {
		for i := range rules {
			seen := map[uint32]bool{}
			if cellsIn(&rules[i].When, seen); len(seen)+len(rules[i].Enter) > 0 {
				at = c.sourceOf(rules[i].Policy)
			}
		}
	}
	c.once(at, at.Pos, "decide on the state of fewer domains", "the policies of %s look at %d words of state: the limit is %d", j.name, len(words), image.MaxRead)
}

// once reports one error of a policy, and no other.
func (c *compiler) once(s *source, at diag.Pos, fix, format string, args ...any) {
	if !s.broken {
		s.broken = true
		c.findings.Errorf(at, fix, format, args...)
	}
}

// possibleEffects refuses permits that may both be satisfied and enter
// different values, and a permit whose condition leaves no declared move.
func (c *compiler) possibleEffects(j *judged) {
	for i := range j.Permit {
		p := &j.Permit[i]
		for _, e := range p.Enter {
			c.canEnter(j, p, e)
		}
		for k := range i {
			if q := &j.Permit[k]; len(q.Enter) > 0 && len(p.Enter) > 0 {
				c.conflict(j, p, q)
			}
		}
	}
}

func (c *compiler) conflict(j *judged, p, q *image.Rule) {
	for _, a := range p.Enter {
		i := slices.IndexFunc(q.Enter, func(b image.Enter) bool { return b.Cell == a.Cell && b.Value != a.Value })
		if i < 0 {
			continue
		}
		if c.never(j, p.When, q.When) {
			return
		}
		s, t := c.sources[p.Policy], c.sources[q.Policy]
		values := c.img.States[c.img.Cells[a.Cell].State].Values
		c.once(s, s.effects.enterAt, "make their conditions exclude each other, or let one of them enter",
			"@enter: for one message (%s) %s enters %s=%s, and permit %s (%s) enters %s", j.name, quote(s.id), c.cellName(a.Cell), values[a.Value],
			quote(t.id), t.Pos, values[q.Enter[i].Value])
		return
	}
}

// never reports whether it is proven that no message satisfies all conditions
// and no forbid.
func (c *compiler) never(j *judged, when ...image.Expr) bool {
	given := slices.Clone(when)
	for i := range j.Forbid {
		given = append(given, not(j.Forbid[i].When))
	}
	_, answer := prove.Ask(&prove.Question{Image: c.img, Message: j.message, Given: given, Want: func(image.Verdict) bool { return true }})
	return answer == prove.Never
}

// canEnter refuses an effect that the permit's own condition makes impossible.
func (c *compiler) canEnter(j *judged, p *image.Rule, e image.Enter) {
	reads := map[uint32]bool{}
	if cellsIn(&p.When, reads); !reads[e.Cell] {
		return
	}
	st := &c.img.States[c.img.Cells[e.Cell].State]
	from := []image.Value{{Long: int64(e.Value)}}
	for _, m := range st.Moves {
		if m.To == e.Value {
			from = append(from, image.Value{Long: int64(m.From)})
		}
	}
	if !c.never(j, p.When, oneOf(image.Operand{What: image.CellValue, Cell: e.Cell}, from)) || c.never(j, p.When) {
		return
	}
	s := c.sources[p.Policy]
	c.once(s, s.effects.enterAt, "declare the move under `moves` of "+st.Name+" in system.yaml, or change the condition",
		"@enter: where this permit is satisfied, no declared move leads to %s=%s", c.cellName(e.Cell), st.Values[e.Value])
}

// layout is the places of cells in the making.
type layout struct {
	*compiler
	placed []bool
	taken  map[uint32]uint64 // by word: the bits that cells have
	levels [3][]uint32       // union-find over cells: must be together; and of one owner; and read together
	why    map[uint32]*judged
}

const (
	must = iota
	owned
	wished
)

func newLayout(c *compiler) *layout {
	l := &layout{compiler: c, placed: make([]bool, len(c.img.Cells)), taken: map[uint32]uint64{}, why: map[uint32]*judged{}}
	for i := range l.levels {
		l.levels[i] = make([]uint32, len(c.img.Cells))
		for k := range l.levels[i] {
			l.levels[i][k] = uint32(k)
		}
	}
	first := map[abi.DomainID]uint32{}
	for i := range c.img.Cells {
		cell := &c.img.Cells[i]
		if l.isGate(uint32(i)) {
			cell.Word = image.GateWord
			continue
		}
		if f, ok := first[cell.Domain]; ok {
			l.join(owned, f, uint32(i))
		} else {
			first[cell.Domain] = uint32(i)
		}
	}
	return l
}

func (l *layout) isGate(cell uint32) bool {
	return l.img.States[l.img.Cells[cell].State].Per == image.PerGate
}

func (l *layout) root(level int, i uint32) uint32 {
	up := l.levels[level]
	for up[i] != i {
		up[i] = up[up[i]]
		i = up[i]
	}
	return i
}

// join puts two cells together, on a level and those above.
func (l *layout) join(level int, a, b uint32) {
	for ; level < len(l.levels); level++ {
		x, y := l.root(level, a), l.root(level, b)
		l.levels[level][max(x, y)] = min(x, y)
	}
}

// together notes what a decision needs in one word.
func (l *layout) together(j *judged) {
	if len(j.enter) == 0 {
		return
	}
	var gates, others []uint32
	for _, i := range j.enter {
		if l.isGate(i) {
			gates = append(gates, i)
		} else {
			others = append(others, i)
		}
	}
	if len(gates) > 0 && len(others) > 0 && !l.apart(j, gates, others) {
		return
	}
	for _, i := range others {
		l.join(must, others[0], i)
		l.why[i] = j
		for _, r := range j.reads {
			if !l.isGate(r) {
				l.join(wished, i, r)
			}
		}
	}
}

// apart reports whether no message enters state of the gate and other state,
// too; if one may, it is a finding.
func (l *layout) apart(j *judged, gates, others []uint32) bool {
	has := func(r *image.Rule, cells []uint32) bool {
		return slices.ContainsFunc(r.Enter, func(e image.Enter) bool { return slices.Contains(cells, e.Cell) })
	}
	for i := range j.Permit {
		for k := range j.Permit {
			p, q := &j.Permit[i], &j.Permit[k]
			if !has(p, gates) || !has(q, others) || i != k && l.never(j, p.When, q.When) {
				continue
			}
			s := l.sources[max(p.Policy, q.Policy)]
			l.once(s, s.effects.enterAt,
				"declare both states per: gate, or neither; or let another message enter one of them (the next request instead of this reply)",
				"@enter: one message (%s) would change state of the gate (%s) and state that is not the gate's (%s): one message changes one word, and a gate has its own",
				j.name, l.cellName(gates[0]), l.cellName(others[0]))
			return false
		}
	}
	return true
}

// width is the number of bits that a cell needs; with a spare one, its state
// may grow in a reload.
func (l *layout) width(cell uint32, spare bool) int {
	n := max(1, bits.Len(uint(len(l.img.States[l.img.Cells[cell].State].Values)-1)))
	if spare {
		n++
	}
	return n
}

// free finds room in a word, lowest first.
func free(taken uint64, width int) (shift int, ok bool) {
	for s := 0; s+width <= image.StateBits; s++ {
		if taken>>s&(1<<width-1) == 0 {
			return s, true
		}
	}
	return 0, false
}

// put places cells in one word, or none of them. Those that have a place
// decide which word.
func (l *layout) put(cells []uint32, word func() uint32, spare bool) bool {
	at, known := uint32(0), false
	for _, i := range cells {
		switch w := l.img.Cells[i].Word; {
		case !l.placed[i]:
		case known && w != at:
			return false
		default:
			at, known = w, true
		}
	}
	if !known {
		at = word()
	}
	taken := l.taken[at]
	shifts := make([]int, len(cells))
	for k, i := range cells {
		if l.placed[i] {
			continue
		}
		s, ok := free(taken, l.width(i, spare))
		if !ok {
			return false
		}
		shifts[k] = s
		taken |= (1<<l.width(i, spare) - 1) << s
	}
	for k, i := range cells {
		if !l.placed[i] {
			c := &l.img.Cells[i]
			c.Word, c.Shift, c.Bits = at, uint8(shifts[k]), uint8(l.width(i, spare))
			l.placed[i] = true
		}
	}
	l.taken[at] = taken
	return true
}

// gate places the states of gates: all in the word that each gate has.
func (l *layout) gate() {
	var cells []uint32
	need := 0
	for i := range l.img.Cells {
		if l.isGate(uint32(i)) {
			cells = append(cells, uint32(i))
			need += l.width(uint32(i), false)
		}
	}
	word := func() uint32 { return image.GateWord }
	if len(cells) > 0 && !l.put(cells, word, true) && !l.put(cells, word, false) {
		fix := "declare fewer values, or fewer states per: gate"
		if l.running != nil {
			fix += "; states that go make room once a reload has taken them away"
		}
		l.findings.Errorf(l.statePos(l.img.Cells[cells[len(cells)-1]].State), fix,
			"the states of a gate do not fit its word: %d bits, of %d", need, image.StateBits)
	}
}

// system places all other cells: what is wished together where it fits, else
// what has one owner, else what must be.
func (l *layout) system() {
	next := uint32(0)
	word := func() uint32 {
		for ; l.taken[next] != 0; next++ {
		}
		return next
	}
	var rest []uint32
	for i := range l.img.Cells {
		if !l.isGate(uint32(i)) {
			rest = append(rest, uint32(i))
		}
	}
	for _, a := range l.groups(wished, rest) {
		if l.put(a, word, true) {
			continue
		}
		for _, b := range l.groups(owned, a) {
			if l.put(b, word, true) {
				continue
			}
			for _, c := range l.groups(must, b) {
				if !l.put(c, word, true) && !l.put(c, word, false) {
					l.tooMany(c)
				}
			}
		}
	}
	for w := range l.taken {
		if w != image.GateWord {
			l.img.Words = max(l.img.Words, w+1)
		}
	}
}

// groups splits cells into those that a level joins, in order.
func (l *layout) groups(level int, cells []uint32) [][]uint32 {
	at := map[uint32]int{}
	var res [][]uint32
	for _, i := range cells {
		r := l.root(level, i)
		if _, ok := at[r]; !ok {
			at[r] = len(res)
			res = append(res, nil)
		}
		res[at[r]] = append(res[at[r]], i)
	}
	return res
}

func (l *layout) tooMany(cells []uint32) {
	need, kept := 0, map[uint32]bool{}
	var names []string
	for _, i := range cells {
		need += l.width(i, false)
		names = append(names, l.cellName(i))
		if l.placed[i] {
			kept[l.img.Cells[i].Word] = true
		}
	}
	if len(names) > 6 {
		names = append(names[:6], fmt.Sprintf("%d more", len(cells)-6))
	}
	at, fix := l.statePos(l.img.Cells[cells[0]].State), "declare fewer values, or declare the state per: gate"
	if j := l.why[cells[0]]; j != nil {
		at = l.policyOf(j.Decision, cells...).effects.enterAt
		fix = "let fewer permits enter state of several owners at once; " + fix
	}
	list := strings.Join(names, ", ")
	if len(kept) > 0 {
		l.findings.Errorf(at, "stop the system and start it again, or leave these states apart",
			"@enter: %s have to be in one word, but the running system keeps them where there is no room for all", list)
		return
	}
	l.findings.Errorf(at, fix, "states that messages change together do not fit one word: %s take %d bits, of %d", list, need, image.StateBits)
}

// keep gives the cells that the running image has the places that they have
// there, so that a reload keeps what they hold, and no other cell a place that
// is in use there.
func (l *layout) keep() {
	if l.running == nil {
		return
	}
	type instance struct{ state, domain string }
	name := func(img *image.Image, c *image.Cell) instance {
		n := instance{state: img.States[c.State].Name}
		if c.Domain != abi.NoDomain {
			n.domain = img.Domains[c.Domain].Name
		}
		return n
	}
	old := map[instance]*image.Cell{}
	for i := range l.running.Cells {
		c := &l.running.Cells[i]
		old[name(l.running, c)] = c
	}
	for i := range l.img.States {
		l.sameState(uint32(i))
	}
	for i := range l.img.Cells {
		c := &l.img.Cells[i]
		k, ok := old[name(l.img, c)]
		if !ok || l.running.States[k.State].Per != l.img.States[c.State].Per {
			continue
		}
		if n := l.width(uint32(i), false); n > int(k.Bits) {
			l.findings.Errorf(l.statePos(c.State), "stop the system and start it again; or add fewer values",
				"state %s has %d values: the running system keeps %s for it", l.img.States[c.State].Name, len(l.img.States[c.State].Values), plural(int(k.Bits), "bit"))
			return
		}
		c.Word, c.Shift, c.Bits = k.Word, k.Shift, k.Bits
		l.placed[i] = true
	}
	// Also the places of states that are gone: the filters that run until the
	// reload is done may still change them.
	for i := range l.running.Cells {
		k := &l.running.Cells[i]
		l.taken[k.Word] |= k.Mask()
	}
}

// sameState refuses a state whose values would mean something else than those
// that the running system holds.
func (l *layout) sameState(state uint32) {
	s := &l.img.States[state]
	i := slices.IndexFunc(l.running.States, func(o image.State) bool { return o.Name == s.Name })
	if i < 0 {
		return
	}
	o := &l.running.States[i]
	const fix = "give it another name, or stop the system and start it again"
	if o.Per != s.Per {
		l.findings.Errorf(l.statePos(state), fix, "state %s is not per: %s in the running system: what it holds cannot be kept", s.Name, l.sys.States[state].Per.Value)
		return
	}
	if len(s.Values) < len(o.Values) || !slices.Equal(s.Values[:len(o.Values)], o.Values) {
		n := 0
		for n < min(len(s.Values), len(o.Values)) && s.Values[n] == o.Values[n] {
			n++
		}
		at := l.statePos(state)
		if n < len(s.Values) {
			at = l.sys.States[state].Values[n].Pos
		}
		l.findings.Errorf(at, "add values at the end only; or "+fix, "state %s: value %d is %s in the running system, and what it holds is kept",
			s.Name, n+1, quote(o.Values[min(n, len(o.Values)-1)]))
	}
}
