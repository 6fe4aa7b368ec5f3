package difftest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ward/abi"
	"ward/image"
	"ward/kernel"
	"ward/policy/eval"
)

// What a running system remembers, as the twin in Go has it: words and
// buckets; and the history that led there.

// slack is how far the kernel's clock may run while the model's stands still.
// All rates give a token in half an hour at the earliest.
const slack = 20 * time.Minute

// A memory is shared by all lanes of a running system.
type memory struct {
	fabric  *kernel.Fabric
	words   []uint64
	buckets map[string]eval.Bucket
	plain   *plain
	history []step
}

// A step is something that was done to a system: a message of a lane, or a
// value that was given to a state.
type step struct {
	lane, method    string
	packet          packet
	of, name, value string // if lane is ""
}

func (m *memory) note(s step) { m.history = append(m.history, s) }

// newMemory gives a fabric the state that a system begins with.
func newMemory(f *kernel.Fabric, b *built) (*memory, error) {
	m := &memory{fabric: f, words: eval.NewMemory(b.img).Words, buckets: map[string]eval.Bucket{}, plain: newPlain(b.res.System.States)}
	for i := range m.words {
		if err := f.SetState(uint32(i), 1<<image.StateBits-1, m.words[i]); err != nil {
			return nil, err
		}
		if m.words[i] != 0 {
			m.words[i] += eval.Step
		}
	}
	return m, nil
}

// A change is what an admitted message makes of a word and of buckets.
type change struct {
	enters  bool
	word    uint32
	next    uint64
	buckets map[string]eval.Bucket
}

// bucket is the name of a bucket: of a policy, a sender and a method.
func (l *lane) bucket(p *packet, policy uint32) string {
	return fmt.Sprint(l.b.img.Policies[policy].ID, " ", l.sides[p.dir].name, " ", l.iface().Name, l.iface().Methods[p.method].Name, p.dir)
}

// consequences works out what an outcome that is allowed does: into want, if
// it is denied for it, else into want.after.
func (l *lane) consequences(p *packet, o *eval.Outcome, want *decided) {
	img := l.b.img
	c := &change{enters: o.Enters(), word: o.Word(img), buckets: map[string]eval.Bucket{}}
	if c.enters {
		now := l.word
		if c.word != image.GateWord {
			now = l.words[c.word]
		}
		next, denied, reason := o.Move(img, now)
		if reason != abi.ReasonPermit {
			want.reason, want.detail, want.audit = reason, denied, true
			return
		}
		c.next = next
	}
	for _, e := range o.Effects {
		if e.Rate == (image.Rate{}) {
			continue
		}
		name := l.bucket(p, e.Policy)
		full, wait := l.buckets[name].Take(e.Rate, 0)
		if wait > want.wait {
			want.reason, want.detail, want.audit, want.wait = abi.ReasonRate, e.Policy, true, wait
		}
		c.buckets[name] = full
	}
	if want.reason == abi.ReasonPermit {
		want.after = c
	}
}

// settled makes the changes of a message, and ends or begins its call.
func (l *lane) settled(p *packet, want *decided) {
	if c := want.after; c != nil {
		if c.enters {
			at := &l.word
			if c.word != image.GateWord {
				at = &l.words[c.word]
			}
			if *at != c.next {
				l.stats.changed++
			}
			*at = c.next
		}
		for name, b := range c.buckets {
			l.buckets[name] = b
			l.stats.tokens++
		}
	}
	switch {
	case p.kind == abi.KindCall:
		if want.reason.Allowed() {
			l.pending[p.slot] = *p
		}
	case p.dir == abi.Reply && p.kind != abi.KindStreamItem:
		delete(l.pending, p.slot)
	}
}

// legal reports whether the call table lets a message pass.
func (l *lane) legal(p *packet) bool {
	c, ok := l.pending[p.slot]
	if p.kind == abi.KindCall {
		return !ok
	}
	return ok && c.method == p.method && c.gen == p.gen
}

// asEmpty reports whether the bucket that a record names is as long empty as
// the one that is expected: which is the longest the model's clock does not say.
func (l *lane) asEmpty(p *packet, want *decided, policy uint32) bool {
	if want.reason != abi.ReasonRate || int(policy) >= len(l.b.img.Policies) {
		return false
	}
	d := &l.route().Methods[p.method].Request
	if p.dir == abi.Reply {
		d = &l.route().Methods[p.method].Reply
	}
	i := slices.IndexFunc(d.Permit, func(r image.Rule) bool { return r.Policy == policy && r.Rate != image.Rate{} })
	if i < 0 {
		return false
	}
	_, wait := l.buckets[l.bucket(p, policy)].Take(d.Permit[i].Rate, 0)
	return wait+uint64(slack) > want.wait
}

// told compares the state in a record with the word that it is of.
func (l *lane) told(p *packet, want *decided, r *abi.Record, decided bool) error {
	words := l.spec.Programs[p.dir].Words[p.method]
	if !decided || len(words) == 0 {
		if r.Word != 0 {
			return fmt.Errorf("audit record: of state where none is looked at: %+v", r)
		}
		return nil
	}
	if r.Word == 0 || int(r.Word) > len(words) {
		return fmt.Errorf("audit record: word %d of %v", r.Word, words)
	}
	word := words[r.Word-1]
	if want.after != nil && want.after.enters && word != want.after.word {
		return fmt.Errorf("audit record: of word %d, but word %d changes", word, want.after.word)
	}
	now := l.word
	if word != image.GateWord {
		now = l.words[word]
	}
	if r.State != now {
		return fmt.Errorf("audit record: word %d is %x, not %x", word, r.State, now)
	}
	return nil
}

// remembered compares the words of the kernel with those of the twin, and
// these with the plain model.
func (l *lane) remembered() error {
	got, err := l.gate.State()
	if err == nil && got != l.word {
		err = fmt.Errorf("the gate's word is %x, not %x", got, l.word)
	}
	for i := range l.words {
		if got, e := l.fabric.State(uint32(i)); e != nil {
			err = e
		} else if err == nil && got != l.words[i] {
			err = fmt.Errorf("word %d is %x, not %x", i, got, l.words[i])
		}
	}
	if err != nil {
		return err
	}
	return l.plain.same(l.b.img, l.name(), func(w uint32) uint64 {
		if w == image.GateWord {
			return l.word
		}
		return l.words[w]
	})
}

// give gives a state a value, as the monitor does: whatever it has, and
// whether a move leads there or not.
func (l *lane) give(of, name, value string) error {
	img := l.b.img
	for i := range img.Cells {
		c := &img.Cells[i]
		s := &img.States[c.State]
		v := slices.Index(s.Values, value)
		if s.Name != name || owner(img, c, l.name()) != of || v < 0 {
			continue
		}
		at, set := &l.word, l.gate.SetState
		if c.Word != image.GateWord {
			at = &l.words[c.Word]
			set = func(mask, bits uint64, from ...uint64) error { return l.fabric.SetState(c.Word, mask, bits, from...) }
		}
		bits := uint64(v) << c.Shift
		if next := *at&^c.Mask() | bits; next != *at {
			*at = next + eval.Step
		}
		l.plain.set(of, name, value)
		l.note(step{of: of, name: name, value: value})
		return set(c.Mask(), bits)
	}
	return nil
}

// shake gives a random state of the lane, a domain or the system a value that
// moves can lead to; or has a domain begin anew.
func (l *lane) shake() error {
	img := l.b.img
	if len(img.Cells) == 0 || l.r.IntN(3) > 0 {
		return nil
	}
	c := &img.Cells[l.r.IntN(len(img.Cells))]
	if img.States[c.State].Per == image.PerDomain && l.r.IntN(2) == 0 {
		of := img.Domains[c.Domain].Name
		for _, s := range l.plain.states {
			if s.Per.Value == "domain" {
				if err := l.give(of, s.Name.Value, s.Values[s.Initial].Value); err != nil {
					return err
				}
			}
		}
		return nil
	}
	s := l.plain.decl(img.States[c.State].Name)
	return l.give(owner(img, c, l.name()), s.Name.Value, pick(l.r, reachable(s)...))
}

// snapshot is the state of the plain model as steps, those of one lane.
func (m *memory) snapshot(lane string) []step {
	var all []step
	for k, v := range m.plain.values {
		dot := strings.LastIndex(k, ".")
		if of := k[:dot]; !strings.Contains(of, " ") || of == lane {
			all = append(all, step{of: of, name: k[dot+1:], value: v})
		}
	}
	return all
}
