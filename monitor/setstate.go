package monitor

import (
	"encoding/json"
	"errors"
	"fmt"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// A state that is set by hand changes in the kernel before anybody can record it.
// So what is about to be set is kept first, with the word before; the next monitor sees by the word,
// whose top bits count its changes, whether it was set. What it cannot see, because messages have
// changed the word since, it says.

// keptSetting is the one state that is being set: the monitor's lock is held meanwhile.
const keptSetting = "setting"

// A setting is a state that somebody sets by hand.
type setting struct {
	UID    uint32
	Domain abi.DomainID // whose state it is, or NoDomain
	Word   uint32       // or image.GateWord
	Gate   uint32       // index, if so
	Text   string       // what is recorded: NAME=VALUE and more
	Mask   uint64
	Bits   uint64
	Before uint64   // the whole word
	Told   [][]byte `json:",omitempty"` // it is done: the event (tell.go)
}

// event is what is recorded of it.
func (s *setting) event(word uint64) event.Event {
	e := event.New(event.StateSet)
	e.UID, e.Domain, e.Count, e.Text = s.UID, s.Domain, word, s.Text
	if s.Word == image.GateWord {
		e.Gate = s.Gate
	}
	return e
}

// after is the word as setting makes it of what it was before.
func (s *setting) after() uint64 {
	if s.Before&s.Mask == s.Bits {
		return s.Before
	}
	return s.Before&^s.Mask | s.Bits + 1<<image.StateBits
}

// tell records what became of it, once.
//
// Preconditions: m.mu is held.
func (s *setting) tell(m *Monitor, e event.Event) {
	t := telling{e}
	m.keepTold(&t, func() {
		s.Told = t.kept()
		m.put(keptSetting, s)
	})
	m.drop(keptSetting)
}

func (m *Monitor) setState(cell, index, value uint32, force bool, running string, uid uint32) (*admin.State, error) {
	if !m.work.asked() {
		return nil, errStopping
	}
	defer m.work.done()
	m.mu.Lock()
	defer m.mu.Unlock()
	if running != m.Hash {
		return nil, errors.New("the policy was changed meanwhile: try again")
	}
	if int(cell) >= len(m.Image.Cells) {
		return nil, errors.New("there is no such state")
	}
	c := &m.Image.Cells[cell]
	s := &m.Image.States[c.State]
	if int(value) >= len(s.Values) {
		return nil, fmt.Errorf("state %s has no such value", s.Name)
	}
	word, g := m.wordOf(c.Word, index)
	if word == nil {
		return nil, errors.New("there is no such gate (any more)")
	}
	var from []uint64
	if !force {
		from = []uint64{uint64(value) << c.Shift}
		for _, move := range s.Moves {
			if move.To == value {
				from = append(from, uint64(move.From)<<c.Shift)
			}
		}
	}
	what := setting{UID: uid, Domain: c.Domain, Word: c.Word, Gate: index, Text: s.Name + "=" + s.Values[value], Mask: c.Mask(), Bits: uint64(value) << c.Shift}
	if c.Word == image.GateWord {
		what.Text += fmt.Sprintf(" of gate %d", index)
	}
	if force {
		what.Text += ", by force"
	}
	var err error
	if what.Before, err = word.State(); err != nil {
		return nil, err
	}
	m.put(keptSetting, &what)
	if err := word.SetState(what.Mask, what.Bits, from...); err != nil {
		m.drop(keptSetting)
		word, _ := word.State()
		now := m.stateOf(cell, word, g)
		return nil, fmt.Errorf("%s is %s, and no declared move leads from there to %s (--force sets it all the same): %w", s.Name, now.Value, s.Values[value], err)
	}
	now, err := word.State()
	if err != nil {
		now = what.after() // it is set all the same
	}
	what.tell(m, what.event(now))
	a := m.stateOf(cell, now, g)
	return &a, nil
}

// A word is one of the system or of a gate.
type word interface {
	State() (uint64, error)
	SetState(mask, bits uint64, from ...uint64) error
}

// systemWord is a word of the system.
type systemWord struct {
	states States
	word   uint32
}

func (w systemWord) State() (uint64, error) { return w.states.State(w.word) }
func (w systemWord) SetState(mask, bits uint64, from ...uint64) error {
	return w.states.SetState(w.word, mask, bits, from...)
}

// wordOf finds a word, and the gate whose it is; nil: that gate is not there.
//
// Preconditions: m.mu is held.
func (m *Monitor) wordOf(number, index uint32) (word, *gate) {
	if number != image.GateWord {
		return systemWord{m.Fabric, number}, nil
	}
	for g := range m.gates {
		if g.Index() == index {
			return g, g
		}
	}
	return nil, nil
}

// setting takes over a state that the monitor before was about to set.
func (r *restoring) setting(_ string, k *Kept) error {
	m, s := r.m, new(setting)
	if err := json.Unmarshal(k.Value, s); err != nil {
		return err
	}
	if len(s.Told) > 0 {
		m.tellLater(s.Told)
		m.whenTold = append(m.whenTold, func() { m.drop(keptSetting) })
		return nil
	}
	m.whenTold = append(m.whenTold, func() { m.ascertain(s) })
	return nil
}

// ascertain says what became of a state that the monitor before was about to set, when it
// died. Whoever asked was not answered, so it is not done now.
//
// Preconditions: m.mu is held.
func (m *Monitor) ascertain(s *setting) {
	asked := fmt.Sprintf("%s, which user %d asked for,", s.Text, s.UID)
	w, _ := m.wordOf(s.Word, s.Gate)
	if w == nil {
		s.tell(m, noticeOf(s.Domain, "%s may have been set: the monitor died meanwhile, and the gate is closed", asked))
		return
	}
	now, err := w.State()
	switch seen := now >> image.StateBits; {
	case err != nil:
		s.tell(m, noticeOf(s.Domain, "%s may have been set: the monitor died meanwhile, and it cannot be read: %v", asked, err))
	case now == s.Before && now != s.after(), now != s.after() && uint16(seen) == uint16(s.Before>>image.StateBits+1):
		s.tell(m, noticeOf(s.Domain, "%s was not set: the monitor died before that; see 'ward state', and ask again", asked))
	case now == s.after():
		s.tell(m, s.event(now))
	default:
		s.tell(m, noticeOf(s.Domain, "%s may have been set: the monitor died meanwhile, and messages have changed it since; see 'ward state'", asked))
	}
}
