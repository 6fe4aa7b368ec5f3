package difftest

import (
	"fmt"
	"slices"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// A version is a value of a word, and who made it: one of the first messages
// of each sender that tell it, until it is known which.
type version struct {
	word   uint64
	makers []*sent
}

// begun reports whether the word may have had the value before a time; over,
// of the next version, whether it certainly had that.
func (v *version) begun(before uint64) bool {
	return v.makers == nil || slices.ContainsFunc(v.makers, func(m *sent) bool { return m.start < before })
}

func (v *version) over(before uint64) bool {
	return !slices.ContainsFunc(v.makers, func(m *sent) bool { return m.record.Time >= before })
}

// explanation finds the order of changes.
type explanation struct {
	y       *running
	initial []uint64
	counts  *counts
	words   map[uint32][]version // of the system, by count from the first on
	gates   map[*lane][]version
	model   *plain
	buckets map[string]int
}

func (e *explanation) explain(all []*sent) error {
	c := e.counts
	c.messages += len(all)
	e.model = newPlain(e.y.plain.states)
	e.buckets = map[string]int{}
	e.words, e.gates = map[uint32][]version{}, map[*lane][]version{}
	for i, w := range e.initial {
		e.words[uint32(i)] = []version{{word: w}}
	}
	for _, l := range e.y.lanes {
		e.gates[l] = []version{{word: l.word}}
	}
	// Each value that some record tells, by its count. Records of one count agree.
	told := map[*lane]map[uint32]map[uint64][]*sent{nil: {}}
	for _, s := range all {
		w, ok := s.word()
		if !ok || s.msg == nil {
			continue
		}
		var l *lane
		if w == image.GateWord {
			l = s.l
		}
		if told[l] == nil {
			told[l] = map[uint32]map[uint64][]*sent{}
		}
		if told[l][w] == nil {
			told[l][w] = map[uint64][]*sent{}
		}
		told[l][w][count(s.record.State)] = append(told[l][w][count(s.record.State)], s)
	}
	for l, words := range told {
		for w, by := range words {
			if err := e.chain(l, w, by); err != nil {
				return err
			}
		}
	}
	for w, v := range e.words {
		if err := e.makers(w, v); err != nil {
			return err
		}
		for i := range v[1:] {
			c.changes++
			if i > 0 && v[i].makers[0].l != v[i+1].makers[0].l {
				c.turns++
			}
		}
	}
	for _, v := range e.gates {
		if err := e.makers(image.GateWord, v); err != nil {
			return err
		}
	}
	for i := range e.initial {
		got, err := e.y.fabric.State(uint32(i))
		if v := e.words[uint32(i)]; err != nil || got != v[len(v)-1].word {
			return fmt.Errorf("word %d is %x at the end, the last change that was recorded made %x: %w", i, got, v[len(v)-1].word, err)
		}
	}
	for _, s := range all {
		if s.msg == nil {
			continue
		}
		if err := e.verdict(s); err != nil {
			return err
		}
	}
	return e.tokens(all)
}

// chain puts the values of one word in the order of their counts: every count
// has its value, one message that made it, and only declared moves between.
func (e *explanation) chain(l *lane, w uint32, by map[uint64][]*sent) error {
	img := e.y.lanes[0].b.img
	versions := e.words[w]
	if l != nil {
		versions = e.gates[l]
	}
	for n := count(versions[0].word) + 1; len(by[n]) > 0; n++ {
		was, is := versions[len(versions)-1].word, by[n][0].record.State
		var makers []*sent
		for _, s := range by[n] {
			if s.record.State != is {
				return fmt.Errorf("word %d: two values after change %d: %x and %x", w, n, is, s.record.State)
			}
			if s.record.Reason == abi.ReasonPermit && !slices.ContainsFunc(makers, func(m *sent) bool { return m.l == s.l }) {
				makers = append(makers, s) // of one sender the first: its others met the value
			}
		}
		for i := range img.Cells {
			cell := &img.Cells[i]
			st := e.model.decl(img.States[cell.State].Name)
			if from, to := cell.Value(was), cell.Value(is); cell.Word == w && (int(to) >= len(st.Values) || !declared(st, st.Values[from].Value, st.Values[to].Value)) {
				return fmt.Errorf("word %d, change %d: %s goes from %d to %d, which no move does", w, n, st.Name.Value, from, to)
			}
		}
		if len(makers) == 0 {
			return fmt.Errorf("word %d, change %d from %x to %x: no admitted message makes it", w, n, was, is)
		}
		versions = append(versions, version{is, makers})
	}
	last := count(versions[len(versions)-1].word)
	for n := range by {
		if n > last || n < count(versions[0].word) {
			return fmt.Errorf("word %d: a record tells change %d, the changes end with %d", w, n, last)
		}
	}
	if l != nil {
		e.gates[l] = versions
	} else {
		e.words[w] = versions
	}
	return nil
}

// makers finds out who made each version of a word, by the effects of the
// permits that the image has; the others met it, and left it.
func (e *explanation) makers(w uint32, versions []version) error {
	for n := 1; n < len(versions); n++ {
		was, is := versions[n-1].word, versions[n].word
		i := slices.IndexFunc(versions[n].makers, func(s *sent) bool {
			return e.leads(s, was, is) && !slices.ContainsFunc(versions[n].makers, func(o *sent) bool { return o != s && !e.leads(o, is, is) })
		})
		if i < 0 {
			return fmt.Errorf("word %d, change from %x to %x: none of the messages that were admitted then makes it", w, was, is)
		}
		versions[n].makers = versions[n].makers[i : i+1]
	}
	return nil
}

// leads reports whether the effects of a message lead from one word to another,
// or to the same, by the permit that the filter named.
func (e *explanation) leads(s *sent, was, is uint64) bool {
	d := &s.l.route().Methods[s.packet.method].Request
	if s.packet.dir == abi.Reply {
		d = &s.l.route().Methods[s.packet.method].Reply
	}
	w, _ := s.word()
	ok := false
	e.readings(s, map[uint32]uint64{w: was}, func(m *eval.Memory) bool {
		o := eval.Judge(d, eval.Message(s.msg), s.l.client(), m)
		next, reason := was, abi.ReasonPermit
		if o.Enters() && o.Word(m.Image) == w {
			next, _, reason = o.Move(m.Image, was)
		}
		ok = o.Verdict == image.Verdict{Allow: true, Policy: s.record.Detail} && reason == abi.ReasonPermit && next == is
		return ok
	})
	return ok
}

// readings calls try with the words that a message may have read, those of at
// being known, until it returns true. Others it read at some moment of its
// time, so each value that they had then is possible.
func (e *explanation) readings(s *sent, at map[uint32]uint64, try func(*eval.Memory) bool) {
	m := &eval.Memory{Image: s.l.b.img, Words: slices.Clone(e.initial)}
	words := s.l.spec.Programs[s.packet.dir].Words[s.packet.method]
	var each func(k int) bool
	each = func(k int) bool {
		if k == len(words) {
			return try(m)
		}
		put := func(v uint64) bool {
			if words[k] == image.GateWord {
				m.Gate = v
			} else {
				m.Words[words[k]] = v
			}
			return each(k + 1)
		}
		if v, ok := at[words[k]]; ok {
			return put(v)
		}
		versions := e.words[words[k]]
		if words[k] == image.GateWord {
			versions = e.gates[s.l]
		}
		for i, v := range versions {
			if over := i+1 < len(versions) && versions[i+1].over(s.start); v.begun(s.end) && !over && put(v.word) {
				return true
			}
		}
		return false
	}
	each(0)
}

// verdict checks that Cedar and the plain model come to a message's verdict,
// in the state that it met.
func (e *explanation) verdict(s *sent) error {
	r := s.record
	if r.Reason == abi.ReasonRace {
		e.counts.races++
		return nil
	}
	at := map[uint32]uint64{}
	if w, ok := s.word(); ok {
		at[w] = r.State
		versions := e.words[w]
		if w == image.GateWord {
			versions = e.gates[s.l]
		}
		k := int(count(r.State) - count(versions[0].word))
		if k > 0 && versions[k].makers[0] == s {
			at[w] = versions[k-1].word
		}
	}
	got := decided{reason: r.Reason, detail: r.Detail}
	if r.Reason != abi.ReasonDefault && int(r.Detail) < len(s.l.b.img.Policies) {
		got.policy = s.l.b.img.Policies[r.Detail].ID
	}
	why := "no value that the words had"
	ok := false
	l := s.l
	e.readings(s, at, func(m *eval.Memory) bool {
		e.tell(l, m)
		was := l.plain
		l.plain = e.model
		defer func() { l.plain = was }()
		e.counts.asked++
		var ruling ruling
		why, ruling = l.b.oracle.agrees(l, s.packet.method, s.packet.dir == abi.Reply, s.msg, got)
		if why == "the plain model of state and rates says otherwise" && got.reason == abi.ReasonRate && ruling.then == abi.ReasonPermit {
			why = "" // tokens are counted in the end
		}
		if ok = why == ""; ok {
			s.charged = ruling.reasons
		} else {
			why += ": " + ruling.String()
		}
		return ok
	})
	if !ok {
		return fmt.Errorf("message %v of %s, %v in state %x: not explained: %s", s.msg, l.name(), got, at, why)
	}
	switch r.Reason {
	case abi.ReasonState:
		e.counts.states++
	case abi.ReasonRate:
		e.counts.rates++
	}
	return nil
}

// tell gives the plain model the values that words have.
func (e *explanation) tell(l *lane, m *eval.Memory) {
	for i := range m.Image.Cells {
		c := &m.Image.Cells[i]
		s := &m.Image.States[c.State]
		if v := s.Values[m.Cell(uint32(i))]; e.model.get(owner(m.Image, c, l.name()), s.Name) != v {
			e.model.set(owner(m.Image, c, l.name()), s.Name, v)
		}
	}
	clear(e.model.buckets)
}

// tokens counts those that were taken: no bucket gave more than it had, and
// none denied that had more than what the other sender might have in its hand.
func (e *explanation) tokens(all []*sent) error {
	img := e.y.lanes[0].b.img
	taken, rates, denied := map[string]uint64{}, map[string]image.Rate{}, map[string]bool{}
	for _, s := range all {
		if s.msg == nil {
			continue
		}
		d := &s.l.route().Methods[s.packet.method].Request
		if s.packet.dir == abi.Reply {
			d = &s.l.route().Methods[s.packet.method].Reply
		}
		for _, p := range d.Permit {
			if p.Rate == (image.Rate{}) {
				continue
			}
			name := s.l.bucket(&s.packet, p.Policy)
			rates[name] = p.Rate
			if s.record.Reason == abi.ReasonRate && s.record.Detail == p.Policy {
				denied[name] = true
			}
			if s.record.Reason == abi.ReasonPermit && slices.Contains(s.charged, img.Policies[p.Policy].ID) {
				taken[name]++
			}
		}
	}
	for name, r := range rates {
		if n := taken[name]; n > uint64(r.Burst) {
			return fmt.Errorf("bucket %s gave %d tokens of %d", name, n, r.Burst)
		} else if denied[name] && n+1 < uint64(r.Burst) {
			return fmt.Errorf("bucket %s denied, but gave only %d tokens of %d", name, n, r.Burst)
		}
	}
	return nil
}
