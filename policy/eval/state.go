package eval

import (
	"slices"

	"ward/abi"
	"ward/image"
)

// State tells what the cells of a system hold when a message is decided on.
type State interface {
	// Cell is the value of Image.Cells[cell]: an index into its state's values.
	Cell(cell uint32) uint32
}

// An Effect is what admitting a message does, by one permit that it satisfies.
type Effect struct {
	Policy uint32
	Enter  []image.Enter
	Rate   image.Rate // the zero value: no limit
}

// An Outcome is a decision on one message, before its effects are tried.
type Outcome struct {
	Verdict image.Verdict
	Reason  abi.Reason // ReasonPermit, ReasonForbid or ReasonDefault
	Audit   bool
	// Effects of the permits that the message satisfies, in order; only if it
	// is allowed. All of them happen, or the message is denied and none does.
	Effects []Effect
}

// Judge is Decide with state, and with what an admitted message does: every
// permit that it satisfies has its effects, not only the one that is named.
// Nothing is changed: that is Word's and Bucket's business.
func Judge(d *image.Decision, args Args, client Client, state State) Outcome {
	args = WithState(args, state)
	o := Outcome{}
	o.Verdict, o.Audit = Decide(d, args, client)
	switch {
	case o.Verdict.Allow:
		o.Reason = abi.ReasonPermit
	case o.Verdict.Policy == abi.NoPolicy:
		o.Reason = abi.ReasonDefault
		return o
	default:
		o.Reason = abi.ReasonForbid
		return o
	}
	for i := range d.Permit {
		r := &d.Permit[i]
		if (len(r.Enter) > 0 || r.Rate != image.Rate{}) && Holds(&r.When, args, client) {
			o.Effects = append(o.Effects, Effect{r.Policy, r.Enter, r.Rate})
			o.Audit = o.Audit || r.Audit
		}
	}
	return o
}

// Enters reports whether some effect of the outcome enters a value.
func (o *Outcome) Enters() bool {
	return slices.ContainsFunc(o.Effects, func(e Effect) bool { return len(e.Enter) > 0 })
}

// Word is the index of the word that the outcome may change, image.GateWord
// for the gate's. It is of use only if Enters.
func (o *Outcome) Word(img *image.Image) uint32 {
	for _, e := range o.Effects {
		if len(e.Enter) > 0 {
			return img.Cells[e.Enter[0].Cell].Word
		}
	}
	return image.GateWord
}

// Step is one change of a word by the number of changes that its top bits count.
const Step = 1 << image.StateBits

// Move is the word that the outcome's effects make of word, in which they all
// have their cells. A word that they do not change is returned as it is, and
// its changes are not counted up. If a cell would make a move that is not
// declared, denied is the first policy that would have it do so and the reason
// is ReasonState; else the reason is ReasonPermit.
func (o *Outcome) Move(img *image.Image, word uint64) (next uint64, denied uint32, reason abi.Reason) {
	next = word
	for _, e := range o.Effects {
		for _, enter := range e.Enter {
			c := &img.Cells[enter.Cell]
			if !Declared(&img.States[c.State], c.Value(word), enter.Value) {
				return word, e.Policy, abi.ReasonState
			}
			next = next&^c.Mask() | uint64(enter.Value)<<c.Shift
		}
	}
	if next != word {
		next += Step // wraps around
	}
	return next, abi.NoPolicy, abi.ReasonPermit
}

// Declared reports whether a state may go from one value to another. Staying
// is always allowed.
func Declared(s *image.State, from, to uint32) bool {
	return from == to || slices.Contains(s.Moves, image.Move{From: from, To: to})
}

// Memory is the state of a running system as one gate sees it: a State, and
// the plain twin of the kernel's words.
type Memory struct {
	Image *image.Image
	Gate  uint64   // the word of the gate
	Words []uint64 // of the system
}

// NewMemory has the state that a system starts with, and a new gate's.
func NewMemory(img *image.Image) *Memory {
	m := &Memory{Image: img, Gate: img.Initial(image.GateWord), Words: make([]uint64, img.Words)}
	for i := range m.Words {
		m.Words[i] = img.Initial(uint32(i))
	}
	return m
}

// at is the place of a word.
func (m *Memory) at(word uint32) *uint64 {
	if word == image.GateWord {
		return &m.Gate
	}
	return &m.Words[word]
}

// Cell reads a cell.
func (m *Memory) Cell(cell uint32) uint32 {
	c := &m.Image.Cells[cell]
	return c.Value(*m.at(c.Word))
}

// Set gives a cell a value, whether a move leads there or not: for tests.
func (m *Memory) Set(cell, value uint32) {
	c := &m.Image.Cells[cell]
	w := m.at(c.Word)
	*w = *w&^c.Mask() | uint64(value)<<c.Shift
}

// Commit makes the changes that an outcome enters, or none: see Move.
func (m *Memory) Commit(o *Outcome) (denied uint32, reason abi.Reason) {
	if !o.Enters() {
		return abi.NoPolicy, abi.ReasonPermit
	}
	w := m.at(o.Word(m.Image))
	*w, denied, reason = o.Move(m.Image, *w)
	return denied, reason
}

// Bucket is a token bucket: the time, in ns, at which it will be full again
// (the theoretical arrival time of GCRA). The zero value is full.
type Bucket uint64

// Take takes a token at a time, in ns. If there is none it returns the bucket
// as it is, and how many ns later there will be one.
//
// Preconditions: r.Every and r.Burst are not 0; now+r.Every*r.Burst is below 2^64.
func (b Bucket) Take(r image.Rate, now uint64) (next Bucket, wait uint64) {
	full := max(uint64(b), now)
	if room := now + r.Every*uint64(r.Burst); full+r.Every > room {
		return b, full + r.Every - room
	}
	return Bucket(full + r.Every), 0
}

// WithState adds state to the parameters of a message, for Holds and Decide.
func WithState(args Args, state State) Args {
	if state == nil {
		return args
	}
	return stateful{args, state}
}

type stateful struct {
	Args
	State
}

// Elements are those of the parameters that have some: none otherwise.
func (s stateful) Elements(path []uint32) []image.Value {
	if e, ok := s.Args.(Elements); ok {
		return e.Elements(path)
	}
	return nil
}

// noValue is what a cell has if nobody tells: it equals none.
const noValue = -1

// cell reads a cell through Args that know of state.
func cell(args Args, index uint32) int64 {
	if s, ok := args.(State); ok {
		return int64(s.Cell(index))
	}
	return noValue
}
