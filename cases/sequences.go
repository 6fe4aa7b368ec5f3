package cases

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ward/image"
	"ward/interfaces"
	"ward/policy/eval"
)

// Sequences from an audit: a message that may change state is judged in the
// state that it met, but its record has the state after it. What that was
// before says the record that came before, by the number of changes of the
// word that both carry. And how a system comes to be in that state say the
// records of the messages that changed it: the shortest way among them, from
// the initial state, are the steps before the message itself.

// A moment is the state that a recorded message met: of a word, of which there
// are as many as gates, and one or more of the system.
type moment struct {
	word    string // names it
	before  string // what its states were, in the form of a test's state
	after   string // as before, if the message changed nothing
	known   bool   // before is
	changes uint16 // recorded: how often the word had changed after it
}

// A timeline is what an audit says of state.
type timeline struct {
	img     *image.Image
	set     *interfaces.Set
	seen    map[string][]*moment // by word, in order of time: of each record that has state
	moves   map[string][]transit // by word and state before
	entries map[[4]string]bool   // of ends, method and event: whether such messages may change state
	initial map[string]string    // by word
}

// A transit is a recorded message that changed state.
type transit struct {
	after string
	by    *draft
}

func newTimeline(img *image.Image, set *interfaces.Set) *timeline {
	return &timeline{img: img, set: set, seen: map[string][]*moment{}, moves: map[string][]transit{}, entries: map[[4]string]bool{}, initial: map[string]string{}}
}

// inOrder sorts records by when the kernel decided, then by their place in the
// file. Times are UTC without zeros at the end: they compare as texts.
func inOrder(records []Happened) []Happened {
	return slices.SortedStableFunc(slices.Values(records), func(a, b Happened) int {
		return cmp.Or(strings.Compare(strings.TrimSuffix(a.Time, "Z"), strings.TrimSuffix(b.Time, "Z")), cmp.Compare(a.Seq, b.Seq))
	})
}

// enters reports whether a message of this kind may change state: then the
// record does not say what it was before.
func (t *timeline) enters(h *Happened) bool {
	key := [4]string{h.From, h.To, h.Method, h.Event}
	may, there := t.entries[key]
	if !there {
		may = enters(t.img, t.set, h)
		t.entries[key] = may
	}
	return may
}

// maxOvertaken is how many records of a word may stand between one and the one
// that came right after it.
const maxOvertaken = 64

// meetAll notes records, and returns the moments that they tell of. Of two
// messages that change a word at the same time the second may be recorded first:
// what came before is then among those that follow.
//
// Preconditions: records are in order.
func (t *timeline) meetAll(records []Happened) []*moment {
	all := make([]*moment, len(records))
	for i := range records {
		all[i] = t.meet(&records[i])
	}
	for _, seen := range t.seen {
		for i, m := range seen {
			for _, k := range seen[i+1 : min(len(seen), i+1+maxOvertaken)] {
				if !m.known && m.changes > 0 && k.changes+1 == m.changes {
					m.before, m.known = k.after, true
				}
			}
		}
	}
	return all
}

// meet notes a record, and returns the moment that it tells of; nil if it has
// no state. The records must come in order.
func (t *timeline) meet(h *Happened) *moment {
	if len(h.State) == 0 || h.Event != "call" && h.Event != "reply" {
		return nil
	}
	state := RecordedState(t.img, h.State)
	m := &moment{word: t.word(h, state), after: stateText(state)}
	if _, there := t.initial[m.word]; !there {
		t.initial[m.word] = stateText(t.initially(state))
	}
	if h.Changes == nil { // of an older Ward
		m.before, m.known = m.after, h.Verdict != "allow"
		return m
	}
	m.changes = *h.Changes
	switch last := t.lastBefore(m); {
	case h.Verdict != "allow" || !t.enters(h):
		m.before, m.known = m.after, true
	case last != nil:
		m.before, m.known = last.after, true
	case m.changes == 0:
		m.before, m.known = m.after, true
	case m.changes == 1: // the first change of a word
		m.before, m.known = t.initial[m.word], true
	}
	t.seen[m.word] = append(t.seen[m.word], m)
	return m
}

// lastBefore is the last moment of a word that may have come right before one:
// with as many changes and the same state, or with one change less.
func (t *timeline) lastBefore(m *moment) *moment {
	for _, k := range slices.Backward(t.seen[m.word]) {
		if k.changes == m.changes && k.after == m.after || k.changes+1 == m.changes {
			return k
		}
	}
	return nil
}

// word names the word that a record carries: by the states in it and, as each
// gate has one, by the gate.
func (t *timeline) word(h *Happened, state map[string]string) string {
	name := strings.Join(slices.Sorted(maps.Keys(state)), " ")
	if !strings.HasPrefix(name, "gate.") {
		return name
	}
	client, server := h.From, h.To
	if h.Event == "reply" {
		client, server = server, client
	}
	iface, _, _ := strings.Cut(h.Method, "/")
	return strings.Join([]string{name, client, server, iface}, " ")
}

// initially is what the states of a word are at first.
func (t *timeline) initially(state map[string]string) map[string]string {
	first := map[string]string{}
	for i := range t.img.Cells {
		name := eval.Cell(t.img, uint32(i))
		if _, there := state[name]; there {
			s := &t.img.States[t.img.Cells[i].State]
			first[name] = s.Values[s.Initial]
		}
	}
	return first
}

// move notes that d was the message of a moment, if it changed state.
func (t *timeline) move(d *draft) {
	if m := d.at; m != nil && m.known && m.before != m.after && d.problem == "" {
		key := m.word + "\n" + m.before
		t.moves[key] = append(t.moves[key], transit{m.after, d})
	}
}

// way is the shortest way from the initial state of a word to another, along
// what happened. Of several as short it is the first in alphabetical order.
func (t *timeline) way(word, to string) ([]*draft, bool) {
	type spot struct {
		state string
		way   []*draft
	}
	from := t.initial[word]
	reached := map[string]bool{from: true}
	for queue := []spot{{from, nil}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		if s.state == to {
			return s.way, true
		}
		if len(s.way) == maxWay {
			continue
		}
		next := slices.Clone(t.moves[word+"\n"+s.state])
		slices.SortFunc(next, func(a, b transit) int {
			return cmp.Or(strings.Compare(a.by.line(), b.by.line()), strings.Compare(a.after, b.after))
		})
		for _, n := range next {
			if !reached[n.after] {
				reached[n.after] = true
				queue = append(queue, spot{n.after, append(slices.Clip(s.way), n.by)})
			}
		}
	}
	return nil, false
}

// maxWay bounds the steps before the message that a case is about.
const maxWay = 32

// texts are the forms that a case of a draft may have, without its name: the
// first that passes is the one to write.
func (t *timeline) texts(d *draft) []string {
	plain := d.message + d.stateLine() + d.verdict
	m := d.at
	if m == nil || d.state != "" || !m.known || m.before == t.initial[m.word] {
		return []string{plain}
	}
	alone := d.message + "  state: " + m.before + "\n" + d.verdict
	way, there := t.way(m.word, m.before)
	if !there {
		return []string{alone}
	}
	var b strings.Builder
	b.WriteString("  steps:\n")
	for _, s := range append(slices.Clip(way), d) {
		b.WriteString(item(s.message + s.verdict))
	}
	return []string{b.String(), alone}
}

// item makes a step of the lines of a case.
func item(lines string) string {
	return "  - " + strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(lines, "  "), "\n"), "\n", "\n  ") + "\n"
}

func ordinal(n uint16) string {
	suffix := "th"
	if n/10%10 != 1 && n%10 >= 1 && n%10 <= 3 {
		suffix = [...]string{"st", "nd", "rd"}[n%10-1]
	}
	return fmt.Sprint(n, suffix)
}

// met is what the name of a case says of the state that its message met, where
// that is not the initial one.
func (t *timeline) met(d *draft) string {
	m := d.at
	if m == nil || d.state != "" || !m.known || m.before == t.initial[m.word] {
		return ""
	}
	return ", at " + strings.NewReplacer(`"`, "", "{", "", "}", "", ": ", "=").Replace(m.before)
}

// missing says why nothing is known of the state that a draft met; "" if it is.
func (d *draft) missing() string {
	if d.at == nil || d.at.known {
		return ""
	}
	if d.at.changes == 0 {
		return "the record does not count changes of state"
	}
	return fmt.Sprintf("the record before it is not there: that is the %s change of its state", ordinal(d.at.changes))
}
