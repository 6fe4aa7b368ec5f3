package cases

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/policy/eval"
	"ward/policy/prove"
)

// A memory is the state of a system while a case runs: what each cell may
// hold, and the least and the most that was taken of each bucket. Where the
// arguments left out decide what follows, it holds all that may be.
type memory struct {
	*world
	now     uint64                         // ns
	cells   map[uint32][]uint32            // of domains and of the system; those of gates are what a new gate has
	gates   map[string]map[uint32][]uint32 // by channel.gate
	buckets map[string]span
}

// span is a bucket of which it is not known who took from it.
type span struct{ least, most eval.Bucket }

func newMemory(w *world) *memory {
	m := &memory{world: w, cells: map[uint32][]uint32{}, gates: map[string]map[uint32][]uint32{}, buckets: map[string]span{}}
	for i := range w.img.Cells {
		m.cells[uint32(i)] = []uint32{w.img.States[w.img.Cells[i].State].Initial}
	}
	return m
}

// prepare does what a step says about time and state.
func (m *memory) prepare(s *step) {
	m.now += s.after
	for cell, values := range s.set {
		m.cells[cell] = values
		for _, g := range m.gates {
			delete(g, cell)
		}
	}
}

// at is what all cells hold for a message of a channel.
func (m *memory) at(c *channel) map[uint32][]uint32 {
	all := maps.Clone(m.cells)
	maps.Copy(all, m.gates[c.gate])
	return all
}

// put gives a cell what it may hold after a message of a channel.
func (m *memory) put(c *channel, cell uint32, values []uint32) {
	if m.img.Cells[cell].Word != image.GateWord {
		m.cells[cell] = values
		return
	}
	if m.gates[c.gate] == nil {
		m.gates[c.gate] = map[uint32][]uint32{}
	}
	m.gates[c.gate][cell] = values
}

// A stepEffect is that of a permit which the messages of a step satisfy.
type stepEffect struct {
	*image.Rule
	always bool // all of them do; else some
}

// effects are those of the messages of a step that the policy allows.
func (s *step) effects(c *channel) []stepEffect {
	if c.fixed != nil {
		return nil
	}
	ask := func(e image.Expr) prove.Answer {
		q := c.query
		q.Given, q.Want = slices.Concat(c.given, s.given, []image.Expr{e}), allowed
		_, answer := prove.Ask(&q)
		return answer
	}
	var res []stepEffect
	d := c.query.Decisions[len(c.query.Decisions)-1]
	for i := range d.Permit {
		r := &d.Permit[i]
		if len(r.Enter) == 0 && r.Rate == (image.Rate{}) || ask(r.When) == prove.Never {
			continue
		}
		res = append(res, stepEffect{r, ask(not(r.When)) == prove.Never})
	}
	return res
}

func allowed(v image.Verdict) bool { return v.Allow }

// tried is how the effects of a step end: with the state and the buckets that
// the system has.
type tried struct {
	outcome outcome // byPolicy: they happen; byState, byRate; 0: it depends on the arguments left out
	why     string
}

// try finds out how effects end. As in the kernel, state comes before rates.
func (m *memory) try(c *channel, all []stepEffect) tried {
	open := ""
	now := m.at(c)
	for _, e := range all {
		for _, enter := range e.Enter {
			st := &m.img.States[m.img.Cells[enter.Cell].State]
			bad := 0
			for _, v := range now[enter.Cell] {
				if !eval.Declared(st, v, enter.Value) {
					bad++
				}
			}
			why := fmt.Sprintf("no declared move leads from %s=%s to %s", eval.Cell(m.img, enter.Cell), m.values(enter.Cell, now[enter.Cell]),
				eval.Value(m.img, enter.Cell, enter.Value))
			switch {
			case bad == 0:
			case bad == len(now[enter.Cell]) && e.always:
				return tried{byState, why}
			default:
				open = why
			}
		}
	}
	if open != "" {
		return tried{0, open}
	}
	for _, e := range all {
		if e.Rate == (image.Rate{}) {
			continue
		}
		b := m.buckets[m.bucket(c, e.Rule)]
		_, most := b.most.Take(e.Rate, m.now)
		_, least := b.least.Take(e.Rate, m.now)
		why := fmt.Sprintf("the bucket of %q has its next token in %s", m.img.Policies[e.Policy].ID, eval.ShowSpan(most))
		switch {
		case most == 0:
		case least > 0 && e.always:
			return tried{byRate, why}
		default:
			open = why
		}
	}
	if open != "" {
		return tried{0, open}
	}
	return tried{outcome: byPolicy}
}

// bucket names the bucket that a permit's tokens come from: one for each
// sender, whichever gates it has.
func (m *memory) bucket(c *channel, r *image.Rule) string {
	return fmt.Sprint(r.Policy, " ", c.sender, " ", c.about)
}

// commit makes the effects of a step happen. sure: its message is on this
// channel; else it is on one of several.
func (m *memory) commit(c *channel, all []stepEffect, sure bool) {
	for _, e := range all {
		sure := sure && e.always
		for _, enter := range e.Enter {
			values := []uint32{enter.Value}
			if !sure {
				values = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(m.at(c)[enter.Cell]), enter.Value))))
			}
			m.put(c, enter.Cell, values)
		}
		if e.Rate != (image.Rate{}) {
			key := m.bucket(c, e.Rule)
			b := m.buckets[key]
			b.most, _ = b.most.Take(e.Rate, m.now)
			if sure {
				b.least, _ = b.least.Take(e.Rate, m.now)
			}
			m.buckets[key] = b
		}
	}
}

// values names what a cell may hold.
func (w *world) values(cell uint32, values []uint32) string {
	var names []string
	for _, v := range values {
		names = append(names, eval.Value(w.img, cell, v))
	}
	if len(names) == 1 {
		return names[0]
	}
	return "one of " + strings.Join(names, ", ")
}

// unreached says of a state in a counterexample how it was found.
const unreached = "\n\t(moves lead there, each state by itself; that a sequence of messages does is not proven)"

// inState shows the state that an example met.
func (w *world) inState(e *prove.Example) string {
	var parts []string
	for _, c := range e.Cells {
		parts = append(parts, eval.Cell(w.img, c.Cell)+"="+eval.Value(w.img, c.Cell, c.Value))
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n\tin the state " + strings.Join(parts, ", ") + unreached
}

// timed reads what a step says about time and state before it.
func (r *reader) timed(s *step, f fields) bool {
	ok := true
	if v, there := f["after"]; there {
		text, good := r.text(v)
		ns, span := eval.ParseSpan(text)
		if good && !span {
			r.out.Errorf(v.pos, "write how much later the step is, as 10s, 5m or 1h30m, with d, h, m, s and ms; at most 3650d", "%s is %q", v.what, short(text))
			good = false
		}
		s.after, ok = ns, good
	}
	if v, there := f["state"]; there {
		var good bool
		s.set, good = r.state(v)
		ok = ok && good
	}
	return ok
}

// state reads `state`: gate.NAME, system.NAME or DOMAIN.NAME, with a value or
// a list of values that it may have.
func (r *reader) state(v value) (map[uint32][]uint32, bool) {
	set := map[uint32][]uint32{}
	byName := map[string]uint32{}
	var names []string
	for i := range r.img.Cells {
		name := eval.Cell(r.img, uint32(i))
		byName[name] = uint32(i)
		names = append(names, name)
	}
	good := true
	ok := r.mapping(v, func(key string, e value) {
		cell, there := byName[key]
		if !there {
			fix := diag.Suggest(key, names)
			if fix == "" {
				fix = "write gate.NAME, system.NAME or DOMAIN.NAME, of a state of system.yaml"
			}
			r.out.Errorf(e.pos, fix, "there is no state %q", short(key))
			good = false
			return
		}
		st := &r.img.States[r.img.Cells[cell].State]
		reach := prove.Reachable(st)
		for _, x := range r.texts(e) {
			name, ok := r.text(x)
			i := slices.Index(st.Values, name)
			switch {
			case !ok:
				good = false
			case i < 0:
				r.out.Errorf(x.pos, diag.Suggest(name, st.Values), "state %s has no value %q", st.Name, short(name))
				good = false
			case !slices.Contains(reach, uint32(i)):
				r.out.Errorf(x.pos, "declare a move that leads there", "state %s is never %q: no declared moves lead there from %q", st.Name, name, st.Values[st.Initial])
				good = false
			default:
				set[cell] = append(set[cell], uint32(i))
			}
		}
		if good && len(set[cell]) == 0 {
			r.out.Errorf(e.pos, "write one of its values", "%s has no value", key)
			good = false
		}
	})
	return set, ok && good
}
