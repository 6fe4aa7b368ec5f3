package image

import (
	"fmt"

	"ward/abi"
)

// Limits of state and rates.
const (
	MaxStates  = 256
	MaxValues  = 1024    // of a state
	MaxWords   = 1 << 16 // of a system
	MaxEffects = 16      // permits of one decision that have effects
	MaxRead    = 4       // words that one decision looks at or changes
	MaxBurst   = 1 << 20 // tokens
	MaxRefill  = 1 << 60 // ns from an empty bucket to a full one: 36 years
)

func (c *checker) states() error {
	img := c.img
	if len(img.States) > MaxStates {
		return fmt.Errorf("%d states: the limit is %d", len(img.States), MaxStates)
	}
	seen := map[string]bool{}
	for i := range img.States {
		s := &img.States[i]
		if !isIdent(s.Name) || seen[s.Name] {
			return fmt.Errorf("state %q is not a name, or is there twice", clip(s.Name))
		}
		seen[s.Name] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("state %s: %w", s.Name, err)
		}
		if len(s.Set) != 0 && len(s.Set) != len(s.Values) {
			return fmt.Errorf("state %s: decisions on %d values of %d", s.Name, len(s.Set), len(s.Values))
		}
		for v := range s.Set {
			if err := c.decision(&s.Set[v], nil, true); err != nil {
				return fmt.Errorf("setting state %s to %s: %w", s.Name, s.Values[v], err)
			}
		}
	}
	if err := c.decision(&img.Reload, nil, true); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	return c.cells()
}

func (s *State) check() error {
	n := uint32(len(s.Values))
	if n == 0 || n > MaxValues || s.Initial >= n {
		return fmt.Errorf("%d values, initial value %d: from 1 to %d are possible, and one of them is the initial value", n, s.Initial, MaxValues)
	}
	if s.Per < PerGate || s.Per > PerSystem {
		return fmt.Errorf("kind %d of instances", s.Per)
	}
	if i := firstBad(s.Values, func(v string) bool { return isText(v, 64) }); i >= 0 {
		return fmt.Errorf("value %q is not a name, or is there twice", clip(s.Values[i]))
	}
	for i, m := range s.Moves {
		if m.From >= n || m.To >= n || m.From == m.To {
			return fmt.Errorf("move from value %d to %d: there are %d, and staying needs no move", m.From, m.To, n)
		}
		if i > 0 && !s.Moves[i-1].before(m) {
			return fmt.Errorf("moves are not in order, each once")
		}
	}
	return nil
}

func (m Move) before(n Move) bool { return m.From < n.From || m.From == n.From && m.To < n.To }

func (c *checker) cells() error {
	img := c.img
	if img.Words > MaxWords {
		return fmt.Errorf("%d words of state: the limit is %d", img.Words, MaxWords)
	}
	type instance struct {
		state  uint32
		domain abi.DomainID
	}
	seen := map[instance]bool{}
	taken := map[uint32]uint64{} // by word: the bits that cells have
	for i := range img.Cells {
		cell := &img.Cells[i]
		if int(cell.State) >= len(img.States) {
			return fmt.Errorf("cell %d is of state %d: there are %d", i, cell.State, len(img.States))
		}
		s := &img.States[cell.State]
		if (cell.Word == GateWord) != (s.Per == PerGate) || cell.Word != GateWord && cell.Word >= img.Words {
			return fmt.Errorf("cell %d, of state %s, is in word %d of %d, which has no place for it", i, s.Name, cell.Word, img.Words)
		}
		if s.Per == PerDomain && int(cell.Domain) >= len(img.Domains) || s.Per != PerDomain && cell.Domain != abi.NoDomain {
			return fmt.Errorf("cell %d, of state %s, belongs to domain %d", i, s.Name, cell.Domain)
		}
		k := instance{cell.State, cell.Domain}
		if seen[k] {
			return fmt.Errorf("state %s has two cells for one instance", s.Name)
		}
		seen[k] = true
		if cell.Bits == 0 || uint(cell.Shift)+uint(cell.Bits) > StateBits || uint64(len(s.Values)) > 1<<cell.Bits {
			return fmt.Errorf("cell %d, of state %s, has bits %d to %d: a word has %d, and there are %d values", i, s.Name, cell.Shift, uint(cell.Shift)+uint(cell.Bits), StateBits, len(s.Values))
		}
		if taken[cell.Word]&cell.Mask() != 0 {
			return fmt.Errorf("cell %d, of state %s, shares bits with another", i, s.Name)
		}
		taken[cell.Word] |= cell.Mask()
	}
	return nil
}

// Mask is the bits of its word that c takes.
func (c *Cell) Mask() uint64 { return (1<<c.Bits - 1) << c.Shift }

// Value is what a word says of c: an index of its state's values, or a number
// above them, which no filter writes.
func (c *Cell) Value(word uint64) uint32 { return uint32(word & c.Mask() >> c.Shift) }

// Initial returns word number word as it is before any message: GateWord for
// that of a new gate.
func (img *Image) Initial(word uint32) uint64 {
	v := uint64(0)
	for i := range img.Cells {
		if c := &img.Cells[i]; c.Word == word {
			v |= uint64(img.States[c.State].Initial) << c.Shift
		}
	}
	return v
}

// effects checks what admitting a message does. words has the words that the
// decision's conditions look at; nil: it is on connecting, before there is a gate.
func (c *checker) effects(d *Decision, words map[uint32]bool) error {
	n := 0
	for i := range d.Forbid {
		if r := &d.Forbid[i]; len(r.Enter) > 0 || r.Rate != (Rate{}) {
			return fmt.Errorf("policy %q: a forbid with an effect", c.img.Policies[r.Policy].ID)
		}
	}
	for i := range d.Permit {
		r := &d.Permit[i]
		if len(r.Enter) == 0 && r.Rate == (Rate{}) {
			continue
		}
		if n++; n > MaxEffects {
			return fmt.Errorf("more than %d permits with effects", MaxEffects)
		}
		if words == nil {
			return fmt.Errorf("policy %q: an effect on connecting", c.img.Policies[r.Policy].ID)
		}
		if err := c.rule(r, words); err != nil {
			return fmt.Errorf("policy %q: %w", c.img.Policies[r.Policy].ID, err)
		}
	}
	if len(words) > MaxRead {
		return fmt.Errorf("looks at %d words of state: the limit is %d", len(words), MaxRead)
	}
	return nil
}

func (c *checker) rule(r *Rule, words map[uint32]bool) error {
	for i, e := range r.Enter {
		if int(e.Cell) >= len(c.img.Cells) || i > 0 && r.Enter[i-1].Cell >= e.Cell {
			return fmt.Errorf("enters cell %d of %d, or out of order", e.Cell, len(c.img.Cells))
		}
		cell := &c.img.Cells[e.Cell]
		if s := &c.img.States[cell.State]; int(e.Value) >= len(s.Values) {
			return fmt.Errorf("enters value %d of state %s, which has %d", e.Value, s.Name, len(s.Values))
		}
		if cell.Word != c.img.Cells[r.Enter[0].Cell].Word {
			return fmt.Errorf("enters cells of two words")
		}
		words[cell.Word] = true
	}
	if (r.Rate.Every == 0) != (r.Rate.Burst == 0) || r.Rate.Burst > MaxBurst || r.Rate.Every > MaxRefill ||
		uint64(r.Rate.Burst)*(r.Rate.Every>>20) > MaxRefill>>20 {
		return fmt.Errorf("rate of a token every %d ns, %d at once: at most %d at once, and an empty bucket must be full again in 36 years", r.Rate.Every, r.Rate.Burst, MaxBurst)
	}
	return nil
}

// cellValue checks an operand that reads state.
func (c *exprChecker) cellValue(o *Operand) error {
	if c.words == nil || int(o.Cell) >= len(c.img.Cells) {
		return fmt.Errorf("looks at cell %d: there are %d, and a decision on connecting has none", o.Cell, len(c.img.Cells))
	}
	c.words[c.img.Cells[o.Cell].Word] = true
	return nil
}
