package monitor

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// State is changed by the messages that filters admit. The monitor only gives
// it its first values: of the system when that starts, of a domain whenever
// that starts, of what a new image adds when it comes into force, and of a gate
// when it is opened (as the kernel's side does); and it answers who asks for values
// or sets one by hand.

// initial gives cells their first values; which says whether a cell is meant.
func (m *Monitor) initial(which func(*image.Cell) bool) error {
	for i := range m.Image.Cells {
		c := &m.Image.Cells[i]
		if c.Word == image.GateWord || !which(c) {
			continue
		}
		s := &m.Image.States[c.State]
		if err := m.Fabric.SetState(c.Word, c.Mask(), uint64(s.Initial)<<c.Shift); err != nil {
			return fmt.Errorf("state %s: %w", s.Name, err)
		}
	}
	return nil
}

// initialSystem is for the start of the system.
func (m *Monitor) initialSystem() error {
	return m.initial(func(c *image.Cell) bool { return c.Domain == abi.NoDomain })
}

// initialDomain is for the start of a domain.
func (m *Monitor) initialDomain(id abi.DomainID) error {
	return m.initial(func(c *image.Cell) bool { return c.Domain == id })
}

// initialGate is for a gate that is not handed over yet. The kernel's side made
// it with what its route's filters know, and while a reload is under way these
// may be of the image before.
//
// Preconditions: m.mu is held.
func (m *Monitor) initialGate(g Gate) error {
	mask := uint64(0)
	for i := range m.Image.Cells {
		if c := &m.Image.Cells[i]; c.Word == image.GateWord {
			mask |= c.Mask()
		}
	}
	if mask == 0 {
		return nil
	}
	return g.SetState(mask, m.Image.Initial(image.GateWord))
}

// initialNew is for what another image has and the one before had not.
//
// Preconditions: m.mu is held; m.Image is the new one.
func (m *Monitor) initialNew(before *image.Image) error {
	fresh := func(c *image.Cell) bool {
		return !slices.ContainsFunc(before.Cells, func(o image.Cell) bool {
			return o.Domain == c.Domain && before.States[o.State].Name == m.Image.States[c.State].Name
		})
	}
	err := m.initial(fresh)
	for i := range m.Image.Cells {
		c := &m.Image.Cells[i]
		if c.Word != image.GateWord || !fresh(c) {
			continue
		}
		for g := range m.gates {
			err = errors.Join(err, g.SetState(c.Mask(), uint64(m.Image.States[c.State].Initial)<<c.Shift))
		}
	}
	return err
}

// states lists all instances of all states.
func (m *Monitor) states() (all []admin.State, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	gates := make([]*gate, 0, len(m.gates))
	for g := range m.gates {
		gates = append(gates, g)
	}
	slices.SortFunc(gates, func(a, b *gate) int { return int(a.Index()) - int(b.Index()) })
	for i := range m.Image.Cells {
		c := &m.Image.Cells[i]
		if c.Word != image.GateWord {
			word, readErr := m.Fabric.State(c.Word)
			err = errors.Join(err, readErr)
			all = append(all, m.stateOf(uint32(i), word, nil))
			continue
		}
		for _, g := range gates {
			word, readErr := g.State()
			err = errors.Join(err, readErr)
			all = append(all, m.stateOf(uint32(i), word, g))
		}
	}
	return all, err
}

func (m *Monitor) stateOf(cell uint32, word uint64, g *gate) admin.State {
	c := &m.Image.Cells[cell]
	s := &m.Image.States[c.State]
	a := admin.State{Cell: cell, Name: s.Name, Values: s.Values, Changes: word >> image.StateBits, Gate: event.None}
	if v := c.Value(word); int(v) < len(s.Values) {
		a.Value = s.Values[v]
		for _, move := range s.Moves {
			if move.From == v {
				a.Moves = append(a.Moves, s.Values[move.To])
			}
		}
	}
	switch {
	case g != nil:
		a.Per, a.Gate = "gate", g.Index()
		a.Interface, a.From, a.To = m.names(g)
		if g.user != nil {
			a.From = "user:" + g.user.label()
		}
	case c.Domain != abi.NoDomain:
		a.Per, a.Domain = "domain", m.Image.Domains[c.Domain].Name
	default:
		a.Per = "system"
	}
	return a
}

// sendStates answers OpStates.
func (m *Monitor) sendStates(out *json.Encoder) {
	all := m.readStates()
	for i := range all {
		if out.Encode(all[i].MarshalLine()) != nil {
			return
		}
	}
	out.Encode(admin.End)
}

// readStates lists what it can, and records why it cannot list more.
func (m *Monitor) readStates() []admin.State {
	if !m.work.asked() {
		return nil
	}
	defer m.work.done()
	all, err := m.states()
	if err != nil {
		m.notice(event.None, "reading state: %v", err)
	}
	return all
}

// answerSetState sets a state by hand. It must be by a declared move, unless
// whoever asks insists.
func (m *Monitor) answerSetState(out *json.Encoder, b []byte, uid uint32) {
	le := binary.LittleEndian
	s, err := m.setState(le.Uint32(b[2:]), le.Uint32(b[6:]), le.Uint32(b[10:]), b[1] == 1, hex.EncodeToString(b[14:]), uid)
	if err != nil {
		out.Encode(admin.Trailer{Error: err.Error()})
		return
	}
	if out.Encode(s) == nil {
		out.Encode(admin.End)
	}
}
