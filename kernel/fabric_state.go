package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// ErrState is what errors.Is finds if SetState was to change a word from values that it does not have.
var ErrState = errors.New("not in this state")

// ErrRace is what errors.Is finds if filters changed a word faster than SetState could.
var ErrRace = errors.New("changed by others all the time")

// setTries bounds how often SetState tries anew after a filter changed the word.
const setTries = 1000

// A stateMap is a map of words of state, and the program that changes one.
// Filters change words by compare-and-swap at any time. A system call that
// writes would undo what they do between it and the read before it; so a
// program does it, in the same way.
type stateMap struct {
	words    *ebpf.Map
	exchange *ebpf.Program
}

// open makes a map of n rows of size bytes, all 0. The first eight of each are its word.
func (s *stateMap) open(name string, n, size uint32, obj *object) (err error) {
	if s.words, err = ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: size, MaxEntries: max(n, 1)}); err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	return s.load(obj)
}

// load loads the program that changes a word.
func (s *stateMap) load(obj *object) (err error) {
	s.exchange, err = obj.load("exchange", nil, nil, map[string]*ebpf.Map{"words": s.words})
	return err
}

func (s *stateMap) close() error {
	err := closeMap(s.words)
	if s.exchange != nil {
		err = errors.Join(err, s.exchange.Close())
	}
	return err
}

// get returns a word. A copy of eight bytes may be torn by a change in the
// middle of it; two that agree with each other and the count of changes are not.
func (s *stateMap) get(row uint32) (uint64, error) {
	var v [2]uint64
	for i := range setTries {
		b, err := s.words.LookupBytes(row)
		if err != nil {
			return 0, err
		}
		if b == nil {
			return 0, fmt.Errorf("there is no row %d", row)
		}
		v[i&1] = binary.LittleEndian.Uint64(b)
		if i > 0 && v[0] == v[1] {
			return v[0], nil
		}
	}
	return 0, ErrRace
}

// set gives the bits of mask the values of bits, if they are one of from or
// from is empty, and counts the change.
func (s *stateMap) set(row uint32, mask, bits uint64, from []uint64) error {
	if bits&^mask != 0 || mask>>image.StateBits != 0 {
		return fmt.Errorf("bits %#x outside %#x, or among those that count the changes", bits, mask)
	}
	for range setTries {
		old, err := s.get(row)
		if err != nil {
			return err
		}
		if len(from) > 0 && !slices.Contains(from, old&mask) {
			return fmt.Errorf("%w: the bits %#x are %#x", ErrState, mask, old&mask)
		}
		next := old&^mask | bits
		if next == old {
			return nil
		}
		next += 1 << image.StateBits
		if done, err := s.swap(row, old, next); done || err != nil {
			return err
		}
	}
	return ErrRace
}

// swap makes a word next if it is old, and reports whether it was.
func (s *stateMap) swap(row uint32, old, next uint64) (bool, error) {
	arg := binary.LittleEndian.AppendUint64(nil, old)
	arg = binary.LittleEndian.AppendUint64(arg, next)
	arg = binary.LittleEndian.AppendUint32(arg, row)
	arg = binary.LittleEndian.AppendUint32(arg, 0)
	lost, err := s.exchange.Run(&ebpf.RunOptions{Context: arg})
	if err != nil {
		return false, fmt.Errorf("program exchange: %w", err)
	}
	if lost > 1 {
		return false, fmt.Errorf("there is no row %d", row)
	}
	return lost == 0, nil
}

// State returns a word of the system: values in the low image.StateBits bits,
// above them the number of its changes.
func (f *Fabric) State(word uint32) (uint64, error) {
	if word >= f.cfg.Words {
		return 0, fmt.Errorf("word of state %d: there are %d", word, f.cfg.Words)
	}
	v, err := f.words.get(word)
	if err != nil {
		return 0, fmt.Errorf("word of state %d: %w", word, err)
	}
	return v, nil
}

// SetState gives the bits of mask in a word of the system the values of bits,
// in one step with counting the change; the other bits keep what filters give
// them. If there are values from, the bits must be one of them, else the error
// is ErrState and nothing changes. If the bits have these values already,
// nothing changes and nothing is counted.
//
// All words are 0 at first: who makes a fabric sets image.Image.Initial.
func (f *Fabric) SetState(word uint32, mask, bits uint64, from ...uint64) error {
	if word >= f.cfg.Words {
		return fmt.Errorf("word of state %d: there are %d", word, f.cfg.Words)
	}
	if err := f.words.set(word, mask, bits, from); err != nil {
		return fmt.Errorf("word of state %d: %w", word, err)
	}
	return nil
}

// State returns the gate's own word, as Fabric.State does.
func (g *Gate) State() (v uint64, err error) {
	err = g.withState(func(s *stateMap) error {
		v, err = s.get(g.Index)
		return err
	})
	return v, err
}

// SetState changes the gate's own word, as Fabric.SetState does. A gate begins
// with what its route's filter.Spec says.
func (g *Gate) SetState(mask, bits uint64, from ...uint64) error {
	return g.withState(func(s *stateMap) error { return s.set(g.Index, mask, bits, from) })
}

// withState calls do while the gate's row is the gate's.
func (g *Gate) withState(do func(*stateMap) error) error {
	f := g.r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if g.closed {
		return fmt.Errorf("state of gate %d: it is closed", g.Index)
	}
	if err := do(&f.gateWords); err != nil {
		return fmt.Errorf("state of gate %d: %w", g.Index, err)
	}
	return nil
}

// checkWords reports a program that looks at words that the fabric does not have.
func (f *Fabric) checkWords(spec *filter.Spec) error {
	for dir := range spec.Programs {
		for _, words := range spec.Programs[dir].Words {
			for _, w := range words {
				if w != image.GateWord && w >= f.cfg.Words {
					return fmt.Errorf("route %d, direction %d: looks at word of state %d: the system was started with room for %d; start it again", spec.Route, abi.Direction(dir), w, f.cfg.Words)
				}
			}
		}
	}
	return nil
}
